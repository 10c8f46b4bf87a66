"""What is left when a scenario has ended, in a form in which two endings can be compared."""

import json
import os
import re
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from pathlib import Path

from tests.slow.driver import acknowledged

MARK = "MAINSPRING_TEST_SWEEP"
"""Environment variable that everything started by a driver carries."""


def ending(folder: Path, diary: Path):
    """Everything that has to be the same however often something was killed on the way."""
    from mainspring.adapters.envoy.router import EnvoyRouter
    from mainspring.adapters.mlflow.registry import MlflowRegistry
    from mainspring.adapters.mlflow.tracking import Tracking
    from mainspring.adapters.sql.ledger import SqliteLedger
    from mainspring.settings.load import load_project

    loaded = load_project(folder)
    paths = loaded.paths
    ledger = SqliteLedger(paths.ledger)
    decisions = ledger.decisions()
    tracking = Tracking(loaded.settings, paths)
    versions = MlflowRegistry(loaded.settings.name, tracking, paths.models).versions()
    with closing(sqlite3.connect(paths.tracking_db)) as db:
        runs = db.execute(
            "SELECT r.name, r.status, (SELECT group_concat(DISTINCT m.key || m.step) FROM metrics m "
            "WHERE m.run_uuid = r.run_uuid ORDER BY m.key, m.step) FROM runs r ORDER BY 1"
        ).fetchall()
    alerts = [json.loads(line) for line in (paths.state / "alerts.jsonl").read_text().splitlines()]
    return {
        "decisions": [(one.id, one.kind, one.what, one.version, str(one.at)) for one in decisions],
        "alerts": sorted((one["id"], one["severity"]) for one in alerts),
        "versions": [
            (one.version, one.verdict, one.aliases, one.run_id, one.tags.get("mainspring.rolled_back", ""))
            for one in versions
        ],
        "mlflow runs": runs,
        "pipeline runs": sorted(
            (path.name, json.loads((path / "result.json").read_bytes())["succeeded"]) for path in paths.runs.iterdir()
        ),
        "rollout": _without_counts(json.loads(ledger.state("rollout") or "{}")),
        "unfinished": ledger.state("run"),
        "weights": dict(EnvoyRouter(loaded.settings, paths).observed()),
        "served": sorted(path.name for path in paths.serving.iterdir()),
        "reports": sorted((path.parent.name, path.name, _report(path)) for path in paths.drift.rglob("drift-*.json")),
        "offline rows": _offline(paths.features),
        "acknowledged": sorted(line.rsplit(" ", 1)[0] for line in acknowledged(diary)),
        "predictions": _predictions(paths),
    }


def _without_counts(rollout):
    """A caller whose request died with him asks again: then there is one more, and one more that failed."""
    return {name: re.sub(r"\d[\d.,]*", "n", one) if name == "reason" else one for name, one in rollout.items()}


def _report(path):
    found = json.loads(path.read_bytes())
    return found["verdict"], [
        (one["feature"], one["reference"], one["psi"], one["current_rows"]) for one in found["features"]
    ]


def _offline(features):
    import pyarrow.parquet as pq

    tables = [pq.read_table(path) for path in sorted((features / "town_mood").rglob("*.parquet"))]
    return sorted(str(row) for table in tables for row in table.to_pylist())


def _predictions(paths):
    """Every answer: request, version, arm, output, features. A request that was answered twice is there twice."""
    from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog

    log = ParquetPredictionLog(paths)
    log.compact()
    # A copy of a request is nobody's answer: the proxy sends it once, and whoever is killed then loses it.
    rows = [row for row in log.read().to_pylist() if (row["outcome"], row["role"]) == ("answered", "primary")]
    return sorted(
        (
            row["request_id"], row["version"], row["build"], row["arm"], str(row["event_at"]),
            tuple(round(one, 12) for one in row["output"]), row["feature.level"], row["feature.mood"], row["feature.town"],
        )
        for row in rows
    )  # fmt: skip


def differences(wanted, found):
    """The parts that differ, with what is missing and what is too much."""
    texts = []
    for name, one in wanted.items():
        other = found[name]
        if one == other:
            continue
        if isinstance(one, list):
            missing, more = (
                Counter(map(repr, one)) - Counter(map(repr, other)),
                Counter(map(repr, other)) - Counter(map(repr, one)),
            )
            detail = f"missing {list(missing)[:4]}, too much {list(more)[:4]}" if missing or more else f"order: {other}"
        else:
            detail = f"{one!r} became {other!r}"
        texts.append(f"{name}: {detail}")
    return texts


def census(mark: str):
    """Living processes that carry the mark, by what they run."""
    found = defaultdict(list)
    for pid in (name for name in os.listdir("/proc") if name.isdigit()):
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if f"{MARK}={mark}".encode() not in environment.split(b"\0") or state in "ZX":
            continue
        kind = "envoy" if "envoy" in Path(words[0]).name else words[2] if words[1:2] == ["-m"] else " ".join(words)[:80]
        found[kind].append(int(pid))
    return dict(found)
