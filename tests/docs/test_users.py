"""The example of `docs/users.md` is one that the settings take."""

from pathlib import Path

import yaml

from mainspring.settings.project import ProjectSettings

PAGE = Path(__file__).parents[2] / "docs" / "users.md"
PROJECT = {"name": "shop", "task": "binary", "target": {"source": "s", "column": "y"}}


def test_the_example_is_valid_and_means_what_the_page_says():
    text = PAGE.read_text(encoding="utf-8").split("```yaml")[1].split("```")[0]
    example = yaml.safe_load(text)
    sources = {"s": {"path": "s.csv"}, **example["sources"]}
    rollout = ProjectSettings.model_validate({**PROJECT, **example, "sources": sources}).rollout
    shadow, canary, ab = rollout.strategy()
    assert rollout.sticky_header == "x-user"
    assert (shadow.min_users, canary.min_users, ab.min_users) == (0, 50, 1000)
    assert (ab.kind, ab.evidence, ab.cohorts) == ("ab", "beat", {"beta": "candidate", "partners": "stable"})
    assert rollout.business is not None
    assert rollout.business.key_column == "customer"
