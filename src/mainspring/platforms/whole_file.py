"""A file that is there as a whole, or as it was: for what two processes may write at once."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def write_whole(path: Path, raw: bytes) -> None:
    """Put `raw` in place of the file at `path`; of several writers the last one's stays. Its folder is made.

    A disk that is full leaves what was there, and raises `OSError`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(Path(folder) / "a" / "b.json", b"{}")
    ...     (Path(folder) / "a" / "b.json").read_bytes()
    b'{}'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own for each writer: of one that is shared, one takes away what the other is about to put in place.
    part = path.with_name(f".{path.name}.{os.getpid():x}{threading.get_ident():x}.part")
    try:
        part.write_bytes(raw)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
