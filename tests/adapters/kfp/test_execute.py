"""A run whose processes are killed: interrupted and taken up again, until it happens too often."""

import json

import pytest

from mainspring.adapters.kfp import execute
from mainspring.adapters.kfp.runner import KfpLocalRunner
from mainspring.domain.run import STEPS
from mainspring.settings.paths import ProjectPaths

TOLD = []


def tell(project, run_id, reason):
    TOLD.append((run_id, reason))


@pytest.fixture
def folder(tmp_path):
    found = ProjectPaths(tmp_path).runs / "run-1"
    found.mkdir(parents=True)
    request = {
        "run_id": "run-1", "trigger": "first", "project": str(tmp_path), "parameters": {}, "cache_keys": {},
        "cache": str(tmp_path), "artifacts": "", "started_at": "2026-03-01T00:00:00+00:00",
        "on_failure": f"{__name__}:tell", "state": str(tmp_path), "modules": {},
    }  # fmt: skip
    (found / execute.REQUEST).write_text(json.dumps(request))
    TOLD.clear()
    return found


def put(folder, name, status, reason=""):
    step = {"name": name, "status": status, "seconds": 0.1, "reason": reason}
    (folder / f"{name}.json").write_text(json.dumps({"step": step, "numbers": {"passed": 1, "version": 1}}))


def run(folder, monkeypatch, **statuses):
    """One attempt, whose steps come as far as `statuses` say; the last one is how it ends."""

    def pipeline(request):
        for name, status in statuses.items():
            put(folder, name, status, "no rows" if status == "failed" else "")
        if set(statuses.values()) != {"succeeded"}:
            raise RuntimeError("kfp says so")

    monkeypatch.setattr(execute, "_run", pipeline)
    return execute.main(folder)


def status(folder):
    runner = KfpLocalRunner(ProjectPaths(folder.parents[2]), "", lambda parameters: {}, on_failure="")
    return runner.status("run-1")


def test_a_step_whose_process_was_killed_leaves_the_run_interrupted(folder, monkeypatch):
    assert run(folder, monkeypatch, ingest="succeeded", validate="running") == 1
    assert not (folder / execute.RESULT).exists()
    assert status(folder).status == "requested"
    assert run(folder, monkeypatch, **dict.fromkeys(STEPS, "succeeded")) == 0
    assert (status(folder).status, status(folder).version) == ("succeeded", "1")
    assert TOLD == []


def test_a_step_that_failed_ends_the_run_at_once_with_its_reason(folder, monkeypatch):
    run(folder, monkeypatch, ingest="failed")
    assert (status(folder).status, status(folder).reason) == ("failed", "no rows")
    assert TOLD == [("run-1", "no rows")]


def test_what_is_killed_again_and_again_within_one_step_has_failed(folder, monkeypatch):
    for _ in range(execute._MOST_STARTS - 1):
        run(folder, monkeypatch, ingest="running")
        assert status(folder).status == "requested"
    run(folder, monkeypatch, ingest="running")
    assert status(folder).status == "failed"
    assert "step ingest ended without a word 5 times" in status(folder).reason
    assert TOLD


def test_a_run_whose_own_process_is_killed_again_and_again_has_failed(folder, monkeypatch):
    class Killed(BaseException):
        pass

    def die(request):
        raise Killed

    for _ in range(execute._MOST_STARTS):
        monkeypatch.setattr(execute, "_run", die)
        with pytest.raises(Killed):
            execute.main(folder)
        assert status(folder).status == "requested"
    execute.main(folder)
    assert status(folder).status == "failed"
    assert "ended 5 times within one step" in status(folder).reason


def test_a_finished_step_begins_the_count_anew(folder, monkeypatch):
    for step in ("ingest", "validate"):
        for _ in range(execute._MOST_STARTS - 1):
            run(folder, monkeypatch, **{step: "running"})
        put(folder, step, "succeeded")
    assert run(folder, monkeypatch, train="running") == 1
    assert status(folder).status == "requested"


def test_what_an_interrupted_attempt_said_of_a_step_is_forgotten(folder, monkeypatch):
    put(folder, "ingest", "succeeded")
    put(folder, "train", "failed", "an attempt that was killed before it could end the run")
    assert run(folder, monkeypatch, validate="running") == 1
    assert status(folder).status == "requested"
