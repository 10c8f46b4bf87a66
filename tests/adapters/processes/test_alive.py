"""Whether a process is there: by its start time, and until its last thread has ended."""

import subprocess
import sys
import time
from pathlib import Path

from mainspring.adapters.processes.alive import is_same, start_time

LEADER_ENDS = """
import ctypes, platform, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
print("here", flush=True)
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 0)  # exit: this thread alone
"""


def test_a_process_is_there_until_its_last_thread_has_ended():
    with subprocess.Popen([sys.executable, "-c", LEADER_ENDS], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout.readline() == b"here\n"
            started = start_time(child.pid)
            assert started
            until = time.monotonic() + 10
            while Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
                assert time.monotonic() < until
            assert child.poll() is None
            assert is_same(child.pid, started)
        finally:
            child.kill()
    assert start_time(child.pid) == ""
