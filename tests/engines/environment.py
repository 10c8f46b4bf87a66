"""Engines that have a locked environment of their own below `tests/engines/`, made when a test first needs it."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def python_of(engine: str) -> Path:
    """The engine's interpreter; the test is skipped with its reason where the environment cannot be made."""
    lock, place = HERE / engine / "requirements.txt", HERE / engine / ".venv"
    python, mark = place / "bin" / "python", place / ".installed"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not mark.exists() or mark.read_text() != digest:
        try:
            _uv("venv", "--quiet", "--allow-existing", "--python", "3.11", str(place))
            _uv("pip", "sync", "--quiet", "--require-hashes", "--python", str(python), str(lock))
        except subprocess.CalledProcessError as error:
            reason = f"{engine} cannot be installed here: {error.stderr.strip()[-300:]}"
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
        mark.write_text(digest)
    return python


def packages_of(python: Path) -> Path:
    """Where an environment's packages lie."""
    return next((python.parents[1] / "lib").glob("python3*")) / "site-packages"


def _uv(*words: str) -> None:
    subprocess.run([str(ROOT / "tools" / "uv"), *words], cwd=ROOT, check=True, capture_output=True, text=True)
