"""`docs/tutorial.md`, done as a reader does it: its blocks run in order in an empty folder, and what it shows comes out.

A block `sh` is run; `sh background` is started in the second terminal; a block `text` is what the one before it shows,
line by line in order, where `...` stands for anything and columns may be wider.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
_FENCE = re.compile(r"^```(sh background|sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Block:
    kind: str
    text: str
    shows: str = ""


def blocks(port: int) -> list[Block]:
    found: list[Block] = []
    for kind, text in _FENCE.findall(TUTORIAL.read_text(encoding="utf-8").replace("8080", str(port))):
        if kind == "text":
            found[-1].shows = text
        else:
            found.append(Block(kind, text))
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def compare(output: str, block: Block) -> None:
    lines = iter(output.splitlines())
    for wanted in filter(None, block.shows.splitlines()):
        pattern = r"\s+".join(".*".join(map(re.escape, word.split("..."))) for word in wanted.split())
        assert any(re.search(pattern, line) for line in lines), f"missing: {wanted}\nin:\n{output}"


class Reader:
    """Two terminals in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._at = folder, folder
        self._environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        self._second: subprocess.Popen[bytes] | None = None
        self._told = folder / "second-terminal.txt"

    def does(self, block: Block, timeout: float) -> None:
        if block.kind == "sh background":
            with self._told.open("wb") as output:
                self._second = subprocess.Popen(
                    ["bash", "-c", f"exec {block.text}"],
                    cwd=self._at, env=self._environ, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                )  # fmt: skip
            return
        place, told = self._folder / "folder.txt", self._folder / "first-terminal.txt"
        with told.open("wb") as output:
            first = subprocess.Popen(
                ["bash", "-c", f"set -eo pipefail\n{block.text}\npwd > {place}\n"],
                cwd=self._at, env=self._environ, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            try:
                status = first.wait(timeout)
            except subprocess.TimeoutExpired:
                os.killpg(first.pid, signal.SIGKILL)
                first.wait()
                status = f"it took longer than {timeout} s"
        text = told.read_text()
        assert status == 0, f"{block.text}\n{status}\n{text}\n{self.second_terminal()}"
        self._at = Path(place.read_text().strip())
        compare(text, block)

    def second_terminal(self) -> str:
        return self._told.read_text() if self._told.exists() else ""

    def presses_ctrl_c(self) -> int:
        assert self._second is not None
        self._second.send_signal(signal.SIGINT)
        return self._second.wait(60)

    def leaves(self) -> None:
        if self._second is not None and self._second.poll() is None:
            self._second.terminate()
            self._second.wait(60)


@pytest.fixture
def reader(tmp_path):
    one = Reader(tmp_path)
    yield one
    one.leaves()


def test_a_line_that_does_not_come_is_noticed():
    compare("one\ntwo   3 s\n", Block("sh", "", "one\ntwo ... s\n"))
    compare("12:30:01  serving   version 1\n", Block("sh", "", "... serving ... version 1\n"))
    with pytest.raises(AssertionError, match="missing: two"):
        compare("two\none\n", Block("sh", "", "one\ntwo\n"))


def test_the_first_half_makes_a_project_that_checks_and_trains(reader):
    for block in blocks(free_port()):
        if block.kind == "sh background":
            return
        reader.does(block, timeout=120)
    pytest.fail("there is no block for the second terminal")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_whole_tutorial_ends_with_a_second_version_in_service(reader):
    started = None
    for block in blocks(free_port()):
        reader.does(block, timeout=240)
        started = block if block.kind == "sh background" else started
    assert reader.presses_ctrl_c() == 0
    told = reader.second_terminal()
    assert started is not None
    compare(told, started)
    assert "stopped; `mainspring up` goes on where this one was" in told
    assert "Traceback" not in told
