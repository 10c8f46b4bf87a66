"""Which runs stay, told by their folders alone."""

import json

from mainspring.adapters.kfp.leftovers import leftovers
from mainspring.adapters.processes.locks import locked
from mainspring.settings.paths import ProjectPaths


def write_run(paths, name, started, *, version="", ended=True):
    folder = paths.runs / name
    folder.mkdir(parents=True)
    (folder / "request.json").write_text(json.dumps({"started_at": started, "cache_keys": {}}))
    if version:
        (folder / "register.json").write_text(json.dumps({"step": {}, "numbers": {"version": float(version)}}))
    if ended:
        (folder / "result.json").write_text("{}")
    return folder


def going(paths, versions=(), current="", keep=1):
    return [one.path.name for one in leftovers(paths, versions, current, keep) if one.kind == "run"]


def test_runs_of_versions_that_are_there_and_whatever_is_not_ended_stay(tmp_path):
    paths = ProjectPaths(tmp_path)
    write_run(paths, "kept", "2026-01-01T00:00:00+00:00", version="2")
    write_run(paths, "gone", "2026-01-02T00:00:00+00:00", version="1")
    write_run(paths, "old", "2026-01-03T00:00:00+00:00")
    write_run(paths, "failed", "2026-01-04T00:00:00+00:00")
    write_run(paths, "interrupted", "2026-01-01T00:00:00+00:00", ended=False)
    asked = write_run(paths, "asked", "2026-01-01T00:00:00+00:00", version="1")
    assert going(paths, {"2"}, "asked") == ["gone", "old"]
    assert going(paths, {"2"}, "asked", keep=0) == ["gone", "old", "failed"]
    with locked(asked / "run.lock"):
        assert "asked" not in going(paths, {"2"})
    assert "asked" in going(paths, {"2"})


def test_a_folder_whose_end_was_interrupted_goes_whatever_is_left_in_it(tmp_path):
    paths = ProjectPaths(tmp_path)
    (paths.runs / ".run-1.gone").mkdir(parents=True)
    half = write_run(paths, ".run-2.gone", "2026-01-01T00:00:00+00:00", ended=False)
    assert going(paths) == [".run-1.gone", half.name]


def test_artifacts_of_a_run_that_may_go_on_stay(tmp_path):
    paths = ProjectPaths(tmp_path)
    (paths.state / "artifacts" / "mainspring-1").mkdir(parents=True)
    assert [one.kind for one in leftovers(paths, (), "", 0)] == ["artifacts"]
    write_run(paths, "interrupted", "2020-01-01T00:00:00+00:00", ended=False)
    assert leftovers(paths, (), "", 0) == []
