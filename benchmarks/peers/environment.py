"""Each peer has a locked environment of its own below `benchmarks/peers/`, made when a benchmark first needs it."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

_HERE = Path(__file__).parent


def python_of(peer: str) -> Path:
    """The peer's interpreter; its environment is installed from `requirements.txt` unless it is there already."""
    lock, place = _HERE / peer / "requirements.txt", _HERE / peer / ".venv"
    python, mark = place / "bin" / "python", place / ".installed"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not mark.exists() or mark.read_text() != digest:
        root = _HERE.parent.parent
        uv = str(root / "tools" / "uv")
        subprocess.run(
            [uv, "venv", "--quiet", "--allow-existing", "--python", "3.11", str(place)], check=True, cwd=root
        )
        sync = [uv, "pip", "sync", "--quiet", "--compile-bytecode", "--require-hashes", "--python", str(python)]
        subprocess.run([*sync, str(lock)], check=True, cwd=root)
        mark.write_text(digest)
    return python
