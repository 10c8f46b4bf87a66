"""Locks: one holder, told by what he signed, and never left behind."""

import os
import signal
import subprocess
import sys
import threading

from mainspring.adapters.processes.locks import held, locked, taken

HOLD = """
import os, subprocess, sys, time
from pathlib import Path
from mainspring.adapters.processes.locks import locked
with locked(Path(sys.argv[1])):
    print(subprocess.Popen(["sleep", "60"]).pid, flush=True)
    if not os.fork():
        print(os.getpid(), flush=True)  # Said by the child: before it runs, it has what its parent had open.
        time.sleep(60)
    sys.stdin.read()
"""


def test_a_lock_is_waited_for_and_tells_its_holder(tmp_path):
    path, order = tmp_path / "a" / "lock", []
    assert held(path) is None

    def second():
        with locked(path):
            order.append("second")

    with locked(path):
        assert held(path) == [os.getpid()]
        file = os.open(path, os.O_RDWR)
        assert not taken(file)
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert held(path) is None
    assert taken(file)
    os.close(file)


def test_a_killed_holders_lock_is_free_although_children_of_his_live(tmp_path):
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    children = [int(holder.stdout.readline()) for _ in range(2)]
    assert held(path) == [holder.pid]
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    try:
        assert held(path) is None
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
        holder.stdin.close()
        holder.stdout.close()
