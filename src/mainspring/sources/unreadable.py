"""Why a file could not be read, in words: looked for in the file itself once the engine has refused it."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

_EXAMPLES = 5


def why_unreadable(files: list[Path], kind: str, delimiter: str, error: BaseException) -> tuple[str, str]:
    """What is wrong with the files, and what would mend it; the engine's first line where nothing is found."""
    for file in files if kind == "csv" else []:
        found = _not_utf8(file) or _ragged(file, delimiter)
        if found is not None:
            return found
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].split(": ", 1)[-1] if lines else type(error).__name__, "mend or remove the file"


def _not_utf8(file: Path) -> tuple[str, str] | None:
    try:
        with _opened(file) as text:
            for _ in text:
                pass
    except UnicodeDecodeError:
        pass
    except (OSError, EOFError) as error:
        return f"{file.name}: {error}", "mend or remove the file"
    else:
        return None
    with _opened(file, errors="surrogateescape") as text:
        broken = (any("\udc80" <= letter <= "\udcff" for letter in line) for line in text)
        number = next((number for number, here in enumerate(broken, 1) if here), 1)
    return (
        f"{file.name} is not UTF-8 text: line {number}",
        f"iconv -f latin1 -t utf8 {file.name} > utf8.csv (or -f utf16), and read that",
    )


def _ragged(file: Path, delimiter: str) -> tuple[str, str] | None:
    """Lines with another number of values than the first."""
    bad: list[str] = []
    count = width = 0
    with _opened(file) as text:
        for number, values in _records(text, delimiter):
            width = width or len(values)
            if values and len(values) != width:
                count += 1
                if len(bad) < _EXAMPLES:
                    bad.append(f"line {number}: {len(values)}")
    if not count:
        return None
    return (
        f"{file.name}: {count:,} line{'s have' if count > 1 else ' has'} another number of values than the {width} columns of the first ({', '.join(bad)})",
        'mend these lines; a value with the delimiter in it stands in "quotes"',
    )


def _records(text: TextIO, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(text, delimiter=delimiter)
    while True:
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error:
            continue
        yield reader.line_num, values


def _opened(file: Path, errors: str = "strict") -> TextIO:
    if file.suffix == ".gz":
        return gzip.open(file, "rt", encoding="utf-8", errors=errors, newline="")
    return file.open(encoding="utf-8", errors=errors, newline="")
