"""Every link of the documentation to a file of this repository leads to one."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md")])
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_leads_to_a_file(page):
    broken = [one for one in _LINK.findall(page.read_text()) if not (page.parent / one).exists()]
    assert broken == []


def test_each_page_of_the_documentation_is_linked_from_another():
    reached = {
        (page.parent / one).resolve()
        for page in PAGES
        for one in _LINK.findall(page.read_text())
        if one.endswith(".md")
    }
    assert [page.name for page in ROOT.glob("docs/*.md") if page.resolve() not in reached] == []
