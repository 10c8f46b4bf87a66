"""The command line as a person has it: a process of its own."""

import subprocess
import sys

import pytest


@pytest.fixture
def mainspring(tmp_path):
    def run(*words, folder=tmp_path, given="", status=0):
        done = subprocess.run(
            [sys.executable, "-m", "mainspring", *map(str, words)],
            cwd=folder, input=given, capture_output=True, text=True, timeout=170, check=False,
        )  # fmt: skip
        assert done.returncode == status, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture
def blank(tmp_path):
    from mainspring.templates.write import write_template

    write_template(tmp_path / "orders", "blank")
    return tmp_path / "orders"
