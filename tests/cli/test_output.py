"""Progress: a spinner on a terminal's standard error, quiet elsewhere, and nothing of it in what a program reads."""

import os
import pty
import subprocess
import sys

PROGRAM = """
import time
from mainspring.cli.output import Progress
with Progress() as progress:
    progress.now("counting sheep")
    time.sleep(0.5)
    progress.line("one sheep")
    progress.now("counting on")
    time.sleep(0.3)
print("done")
"""


def test_a_terminal_sees_what_is_being_done_and_standard_output_only_the_lines():
    ours, theirs = pty.openpty()
    done = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    seen = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # the other end was closed
            break
        if not chunk:
            break
        seen += chunk
    os.close(ours)
    out, _ = done.communicate(timeout=30)
    assert out == b"one sheep\ndone\n"
    assert b"counting sheep" in seen
    assert b"counting on" in seen
    assert b"0:00:00" in seen


def test_without_a_terminal_it_is_quiet():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, timeout=30, check=True)
    assert done.stdout == b"one sheep\ndone\n"
    assert done.stderr == b""
