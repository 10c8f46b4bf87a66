"""The commit that a project stands at, and whether its files differ from it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Tree:
    """A commit; `sha` is empty outside a repository. `dirty`: files of the project differ from it, or are not in it."""

    sha: str
    dirty: bool


def head(folder: Path) -> Tree:
    """The state of the repository that holds `folder`."""
    sha = _git(folder, "rev-parse", "HEAD")
    return Tree(sha, not sha or bool(_git(folder, "status", "--porcelain", "--", ".")))


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
