"""`python -m mainspring.adapters.kfp.execute RUN_FOLDER`: one pipeline run, in a process of its own.

Reads `request.json`, runs the pipeline in a local session and writes `result.json`. While it lives it holds a lock on
`run.lock`: who gets the lock and finds no result knows that the run was interrupted. A step keeps a record of its own in
the run's folder; what became of steps that could not write it is written here. A step whose process was killed did not
fail: the run counts as interrupted, and only when that happens again and again it has failed.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import traceback
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mainspring.adapters.kfp.worker import answers, warm_worker
from mainspring.adapters.processes.locks import lock_file, sign, taken
from mainspring.domain.run import STEPS

LOCK, REQUEST, RESULT, OUTPUT = "run.lock", "request.json", "result.json", "output.log"
STARTS = "starts.json"
_WARM_SECONDS = 120.0
_MOST_STARTS = 5
_KILLED = "the process of step {} ended without a word {} times: it was killed, or the machine had no memory left"


def start(folder: str) -> int:
    """`main` for a caller that has the folder as text."""
    return main(Path(folder))


def main(folder: Path) -> int:
    """Run the request; 0 when the pipeline succeeded. A second process on the same run ends at once."""
    with lock_file(folder / LOCK) as lock:
        if not taken(lock):
            return 0
        sign(lock)
        return _attempt(folder)


def _attempt(folder: Path) -> int:
    if (folder / RESULT).exists():
        return 0
    request = json.loads((folder / REQUEST).read_bytes())
    _forget_unfinished(folder)
    starts, reason = _count_start(folder), ""
    try:
        if starts > _MOST_STARTS:
            raise RuntimeError(f"the run's process ended {_MOST_STARTS} times within one step")
        with _worker(folder, request):
            _run(request)
    except Exception as error:  # kfp raises a RuntimeError for every kind of failure; the step's record has the reason
        reason = _failed(folder, starts)
        if not reason and starts < _MOST_STARTS:
            traceback.print_exc()
            return 1
        reason = reason or str(error) or type(error).__name__
    record_cached(folder, request)
    if reason:
        _tell(request, reason)
    _write(folder / RESULT, {"succeeded": not reason, "reason": reason, "ended_at": datetime.now(UTC).isoformat()})
    return 1 if reason else 0


@contextlib.contextmanager
def _worker(folder: Path, request: dict[str, Any]) -> Iterator[None]:
    """A worker for this run alone where the project has none: everything is imported once, not by every step.

    Steps that the cache will answer need nothing. A step that finds no worker works in its own process.
    """
    keys, cache = request["cache_keys"], Path(request["cache"])
    few = [names for step, names in request["modules"].items() if not _kept(cache, keys, step)]
    names = list(dict.fromkeys(name for one in few for name in one))
    if not names or answers(Path(request["state"])):
        yield
        return
    with warm_worker(folder, names) as warm:
        warm(_WARM_SECONDS)
        yield


def _kept(cache: Path, keys: dict[str, str], step: str) -> bool:
    tasks = ("register", "refuse") if step == "register" else (step,)
    return any(kept_file(cache, keys.get(task, "")).exists() for task in tasks)


def _failed(folder: Path, starts: int) -> str:
    """The failed step's reason. A step that says it is running, after the pipeline ended, ended without a word."""
    for name in STEPS:
        record = _read(folder, name)
        if record["step"]["status"] == "running" and starts >= _MOST_STARTS:
            record["step"] |= {"status": "failed", "reason": _KILLED.format(name, starts)}
            _write(folder / f"{name}.json", record)
        if record["step"]["status"] == "failed":
            return str(record["step"]["reason"])
    return ""


def _forget_unfinished(folder: Path) -> None:
    """What an attempt that was interrupted said of a step is not what this one finds."""
    for name in STEPS:
        if _read(folder, name)["step"]["status"] in ("running", "failed"):
            (folder / f"{name}.json").unlink()


def _count_start(folder: Path) -> int:
    """Starts since the last step that was finished, this one included."""
    path = folder / STARTS
    known = json.loads(path.read_bytes()) if path.exists() else {"done": 0, "starts": 0}
    done = sum(_read(folder, name)["step"]["status"] in ("succeeded", "cached") for name in STEPS)
    starts: int = known["starts"] + 1 if done == known["done"] else 1
    _write(path, {"done": done, "starts": starts})
    return starts


def _read(folder: Path, step: str) -> dict[str, Any]:
    path = folder / f"{step}.json"
    found: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {"step": {"status": "pending"}}
    return found


def _tell(request: dict[str, Any], reason: str) -> None:
    """Whom the request names is told that the run failed; that this fails as well changes nothing."""
    module, function = request["on_failure"].split(":")
    try:
        getattr(importlib.import_module(module), function)(request["project"], request["run_id"], reason)
    except Exception:
        traceback.print_exc()


def record_cached(folder: Path, request: dict[str, Any], *, before: str = "") -> None:
    """Steps that Kubeflow took from its cache did not run: what they found then is written down for this run, too.

    `before` names the step that is about to run: those ahead of it are done, whoever did them.
    """
    passed = False
    for name in STEPS:
        if name == before:
            return
        path = folder / f"{name}.json"
        if not path.exists():
            task = "refuse" if name == "register" and not passed else name
            kept = kept_file(Path(request["cache"]), request["cache_keys"].get(task, ""))
            if not kept.exists():
                return
            found = json.loads(kept.read_bytes())
            step = {"name": name, "status": "cached", "seconds": 0.0, "reason": "", "notes": found["notes"]}
            _write(path, {"step": step, "numbers": found["numbers"]})
        record = json.loads(path.read_bytes())
        if record["step"]["status"] not in ("succeeded", "cached"):
            return  # nothing behind it was reached
        if name == "evaluate":
            passed = bool(record["numbers"]["passed"])


def kept_file(cache: Path, key: str) -> Path:
    """Where the numbers and notes of a task with that cache key are kept."""
    return cache / f"numbers-{key}.json"


def _run(request: dict[str, Any]) -> None:
    warnings.simplefilter("ignore")
    from kfp import local

    from mainspring.adapters.kfp.pipeline import build

    local.init(
        local.SubprocessRunner(use_venv=False),
        pipeline_root=str(request["artifacts"]),
        raise_on_error=True,
        enable_caching=True,
        cache_root=str(request["cache"]),
    )
    pipeline = build(request["cache_keys"])
    pipeline(
        project=request["project"],
        run_id=request["run_id"],
        entry=request["entry"],
        parameters=json.dumps(request["parameters"]),
    )


def _write(path: Path, value: object) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=2), encoding="utf-8")
    part.replace(path)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
