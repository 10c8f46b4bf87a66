"""A warm worker that ends while it is asked, and a run that is started all the same."""

import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from mainspring.adapters.kfp import runner as runner_module
from mainspring.adapters.kfp.execute import RESULT
from mainspring.adapters.kfp.runner import KfpLocalRunner
from mainspring.adapters.kfp.worker import SOCKET, answers, ask, warm_worker
from mainspring.settings.paths import ProjectPaths


@pytest.mark.parametrize("read", [True, False])
def test_a_worker_that_ends_before_it_answers_is_an_error_and_no_exception(tmp_path, monkeypatch, read):
    monkeypatch.chdir(tmp_path)  # a socket's path may have 108 characters

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(SOCKET)
        listener.listen()

        def end():
            connection, _ = listener.accept()
            if read:
                connection.recv(10_000)
            connection.close()

        thread = threading.Thread(target=end)
        thread.start()
        assert "ended before it answered" in ask(tmp_path, "builtins:len", ["x" * 500_000])["error"]
        thread.join()


def test_a_run_whose_worker_ended_gets_a_process_of_its_own(tmp_path, monkeypatch):
    started = []

    class Child:
        def __init__(self, words, **options):
            started.append(words[2])
            (ProjectPaths(tmp_path).runs / "run-1" / RESULT).write_text("{}")

        def poll(self):
            return 0

    monkeypatch.setattr(runner_module, "ask", lambda *_, **__: {"error": "the worker's process ended", "kind": "x"})
    monkeypatch.setattr(subprocess, "Popen", Child)
    KfpLocalRunner(ProjectPaths(tmp_path), "", lambda parameters: {}, on_failure="").start("run-1", "first", {})
    assert started == ["mainspring.adapters.kfp.execute"]


def test_a_worker_that_died_is_started_again_after_longer_and_longer_waits(tmp_path):
    with warm_worker(tmp_path, []) as worker:
        assert worker(30)
        assert not worker.keep()
        for _ in range(2):
            os.kill(worker._process.pid, signal.SIGKILL)
            worker._process.wait()
            assert not answers(tmp_path)
            until = time.monotonic() + 20
            while not worker.keep():
                assert time.monotonic() < until
                time.sleep(0.05)
            assert worker(30)
            assert answers(tmp_path)
        os.kill(worker._process.pid, signal.SIGKILL)
        worker._process.wait()
        assert not worker.keep()  # not at once again
    assert not answers(tmp_path)
