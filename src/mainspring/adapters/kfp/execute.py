"""`python -m mainspring.adapters.kfp.execute RUN_FOLDER`: one pipeline run, in a process of its own.

Reads `request.json`, runs the pipeline in a local session and writes `result.json`. While it lives it holds a lock on
`run.lock`: who gets the lock and finds no result knows that the run was interrupted.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
import traceback
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mainspring.adapters.kfp.pipeline import STEP_CALLS
from mainspring.adapters.processes.locks import sign
from mainspring.domain.run import STEPS

LOCK, STEP_LOCK, REQUEST, RESULT, OUTPUT = "run.lock", "step.lock", "request.json", "result.json", "output.log"


def start(folder: str) -> int:
    """`main` for a caller that has the folder as text."""
    return main(Path(folder))


def main(folder: Path) -> int:
    """Run the request; 0 when the pipeline succeeded. A second process on the same run ends at once."""
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    if not _lock(lock):
        return 0
    sign(lock)
    if (folder / RESULT).exists():
        return 0
    request = json.loads((folder / REQUEST).read_bytes())
    reason = ""
    try:
        _run(request)
    except Exception as error:  # kfp raises a RuntimeError for every kind of failure; the step's record has the reason
        if not any(_status(folder, name) == "failed" for name in STEPS):
            # No step said that it failed: a process was killed. Without a result the run counts as interrupted.
            traceback.print_exc()
            return 1
        reason = str(error) or type(error).__name__
    else:
        _record_cached(folder, request)
    _write(folder / RESULT, {"succeeded": not reason, "reason": reason, "ended_at": datetime.now(UTC).isoformat()})
    return 1 if reason else 0


def _record_cached(folder: Path, request: dict[str, Any]) -> None:
    """Steps that Kubeflow took from its cache did not run: what they found then is written down for this run, too."""
    passed = True
    for task in STEP_CALLS:
        kept = numbers_file(Path(request["cache"]), request["cache_keys"].get(task, ""))
        record = folder / f"{'register' if task == 'refuse' else task}.json"
        # What an interrupted attempt left is not what this one found.
        done = _status(folder, record.stem) in ("succeeded", "cached")
        if done or not kept.exists() or task == ("refuse" if passed else "register"):
            if task == "evaluate" and done:
                passed = bool(json.loads(record.read_bytes())["numbers"]["passed"])
            continue
        numbers = json.loads(kept.read_bytes())
        if task == "evaluate":
            passed = bool(numbers["passed"])
        step = {"name": record.stem, "status": "cached", "seconds": 0.0, "reason": ""}
        _write(record, {"step": step, "numbers": numbers})


def _status(folder: Path, step: str) -> str:
    path = folder / f"{step}.json"
    return str(json.loads(path.read_bytes())["step"]["status"]) if path.exists() else ""


def numbers_file(cache: Path, key: str) -> Path:
    """Where the numbers of a task with that cache key are kept."""
    return cache / f"numbers-{key}.json"


def _lock(lock: int) -> bool:
    """Who asks whether this process lives holds the lock for a moment, so one refusal means nothing."""
    for _ in range(20):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            return True
    return False


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
