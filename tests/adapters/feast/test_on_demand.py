"""On-demand views: a predictor computes, row by row, what the training set has, and what Feast's own join has."""

import math
import random
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from feast import FeatureStore

from mainspring.adapters.feast.on_demand import open_views
from mainspring.adapters.feast.store import FeastFeatureStore
from mainspring.domain.errors import ConfigError, DataError
from mainspring.domain.model_version import Feature, OnDemandView, Signature
from mainspring.features.transforms import load_module
from mainspring.pipeline.signature import learn_signature
from mainspring.serving.on_demand import ViewFailed

DAY = datetime(2026, 3, 1, tzinfo=UTC)
UTC_TIME = pa.timestamp("us", "UTC")
FEATURES = """
from datetime import timedelta
import math
import pandas as pd
from feast import Entity, FeatureService, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Bool, Float64, Int64, String, UnixTimestamp

HALF = 0.5
shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.STRING)

def view(name, **fields):
    schema = [Field(name="shop", dtype=String), *(Field(name=one, dtype=kind) for one, kind in fields.items())]
    source = FileSource(name=name, path=name, timestamp_field="event_timestamp")
    return FeatureView(name=name, entities=[shop], ttl=timedelta(days=2), schema=schema, source=source)

sales = view("sales", mean=Float64, count=Int64, kind=String)
signals = view("signals", vector=Array(Float64), last=UnixTimestamp, open=Bool, level=Int64)
asked = RequestSource(name="asked", schema=[Field(name="amount", dtype=Float64), Field(name="pieces", dtype=Int64)])

@on_demand_feature_view(
    sources=[asked, sales],
    schema=[Field(name="share", dtype=Float64), Field(name="label", dtype=String)],
    mode="python",
)
def by_row(inputs):
    share, label = [], []
    for amount, mean, kind, pieces in zip(inputs["amount"], inputs["mean"], inputs["kind"], inputs["pieces"]):
        share.append(None if not mean or amount is None else math.floor(amount / mean * 8) / 8 * HALF)
        label.append(f"{kind}/{pieces}")
    return {"share": share, "label": label}

@on_demand_feature_view(
    sources=[sales, signals, asked],
    schema=[Field(name="norm", dtype=Float64), Field(name="text", dtype=String), Field(name="many", dtype=Bool)],
    mode="pandas",
)
def by_frame(frame: pd.DataFrame) -> pd.DataFrame:
    found = pd.DataFrame()
    found["norm"] = frame["vector"].map(lambda one: float("nan") if one is None else sum(x * x for x in one)) + frame["mean"]
    # Integers show what pandas makes of them.
    found["text"] = frame["count"].astype(str) + "|" + frame["level"].astype(str) + "|" + frame["last"].astype(str)
    found["many"] = frame["pieces"] > frame["count"].fillna(-1)
    return found

@on_demand_feature_view(
    sources=[asked], schema=[Field(name="single", dtype=Float64)], mode="python", singleton=True
)
def one_row(inputs):
    return {"single": inputs["amount"] * 2 if inputs["amount"] is not None else None}

everything = FeatureService(name="everything", features=[sales[["mean", "kind"]], by_row, by_frame, one_row])
"""
SHOPS = ["a", "b", "c", "d"]
COMPUTED = {"by_row": ["share", "label"], "by_frame": ["norm", "text", "many"], "one_row": ["single"]}


def opened(folder: Path, text: str = FEATURES, **more: Any) -> FeastFeatureStore:
    folder.mkdir(exist_ok=True)
    (folder / "features.py").write_text(textwrap.dedent(text))
    return FeastFeatureStore(
        "shops", folder / "state", vars(load_module(folder / "features.py", "shops")), None, **more
    )


def fill(store: FeastFeatureStore, nulls: bool = True) -> None:
    random_ = random.Random(5)

    def some(*values: Any) -> Any:
        return random_.choice([*values, None] if nulls else values)

    at = [DAY + timedelta(hours=hour) for hour in range(0, 96, 6)]
    rows = [(shop, one) for shop in SHOPS for one in at]
    store.append("sales", pa.table({
        "event_timestamp": pa.array([one for _, one in rows], UTC_TIME),
        "shop": [shop for shop, _ in rows],
        "mean": pa.array([some(1.5, 0.0, -2.25) for _ in rows], pa.float64()),
        "count": pa.array([some(1, 7, -3) for _ in rows], pa.int64()),
        "kind": pa.array([some("x", "y z") for _ in rows], pa.string()),
    }))  # fmt: skip
    store.append("signals", pa.table({
        "event_timestamp": pa.array([one for _, one in rows], UTC_TIME),
        "shop": [shop for shop, _ in rows],
        "vector": pa.array([some([1.0, 2.0], [0.5]) for _ in rows], pa.list_(pa.float64())),
        "last": pa.array([some(DAY, DAY - timedelta(days=3)) for _ in rows], UTC_TIME),
        "open": pa.array([some(True, False) for _ in rows], pa.bool_()),
        "level": pa.array([random_.randrange(5) for _ in rows], pa.int64()),
    }))  # fmt: skip


def spine(at: datetime, nulls: bool = True) -> pa.Table:
    random_ = random.Random(3)
    count = 60
    return pa.table({
        "event_timestamp": pa.array([at] * count, UTC_TIME),
        "shop": [random_.choice([*SHOPS, "nowhere"] if nulls else SHOPS) for _ in range(count)],
        "amount": pa.array([random_.choice([3.0, -1.25, None] if nulls else [3.0, -1.25]) for _ in range(count)], pa.float64()),
        "pieces": pa.array([random_.randrange(9) for _ in range(count)], pa.int64()),
    })  # fmt: skip


def signature_of(store: FeastFeatureStore, rows: pa.Table) -> Signature:
    views = store.views()
    sources = {"amount": "request", "pieces": "request"}
    sources |= {name: view.name for view in views for name, _ in view.features}
    labelled = rows.append_column("label_", pa.array([0.0] * rows.num_rows))
    return learn_signature(
        labelled,
        sources,
        task="regression",
        target="y",
        label="label_",
        on_demand={view.name: view.inputs for view in views if view.on_demand},
        hidden={name: view.name for view in views for name, _ in view.hidden},
    )


def kept(store: FeastFeatureStore, folder: Path, signature: Signature) -> Any:
    store.keep_on_demand(folder)
    return open_views(folder, signature)


def as_asked(value: Any) -> Any:
    """A value of the training set as a predictor has it: numbers of a request are floats, instants seconds, NaN is missing."""
    if isinstance(value, datetime):
        return int(value.timestamp())
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return float(value)


def same(ours: Any, theirs: Any) -> bool:
    missing = [value is None or (isinstance(value, float) and math.isnan(value)) for value in (ours, theirs)]
    return all(missing) or (not any(missing) and ours == theirs and isinstance(ours, str) == isinstance(theirs, str))


@pytest.mark.parametrize("nulls", [True, False])
def test_a_predictor_computes_row_by_row_what_the_training_set_has(tmp_path: Path, nulls: bool) -> None:
    store = opened(tmp_path / "project")
    fill(store, nulls)
    rows = store.historical(spine(DAY + timedelta(days=3, hours=23), nulls))
    signature = signature_of(store, rows)
    assert {one.name for one in signature.inputs} == {"count", "vector", "last", "open", "level"}
    views = kept(store, tmp_path / "kept", signature)
    asked = {name: [as_asked(value) for value in rows.column(name).to_pylist()] for name in rows.column_names}
    checked = 0
    for view, features in COMPUTED.items():
        whole = views.compute(view, asked, rows.num_rows)
        for place in range(rows.num_rows):
            alone = views.compute(view, {name: [values[place]] for name, values in asked.items()}, 1)
            for feature in features:
                trained = rows.column(feature)[place].as_py()
                assert same(alone[feature][0], trained), f"{view}.{feature} of row {place}"
                assert same(whole[feature][place], trained)
                checked += trained is not None
    assert checked > 200


def test_the_training_set_has_what_feasts_own_join_has(tmp_path: Path) -> None:
    # Feast makes functions anew from their source text, without the names around them, and calls singletons with lists.
    text = FEATURES.replace("math.floor(amount / mean * 8) / 8 * HALF", "round(amount / mean * 8) / 16")
    text = text.replace("by_frame, one_row]", "by_frame]")
    store = opened(tmp_path / "project", text)
    fill(store)
    asked = spine(DAY + timedelta(days=2))
    ours = store.historical(asked)
    feast: FeatureStore = store._open()
    frame = asked.append_column("place", pa.array(range(asked.num_rows))).to_pandas()
    theirs = feast.get_historical_features(entity_df=frame, features=store._service).to_df().sort_values("place")
    for feature in ("mean", "kind", *COMPUTED["by_row"], *COMPUTED["by_frame"]):
        pairs = zip(ours.column(feature).to_pylist(), theirs[feature].tolist(), strict=True)
        assert all(same(mine, other) for mine, other in pairs), feature


def test_an_existing_repository_is_kept_as_source_text_without_pickled_code(tmp_path: Path) -> None:
    own = opened(tmp_path / "own", FEATURES.replace("8 * HALF", "16").replace("math.floor", "int"))
    fill(own)
    own.materialize(DAY + timedelta(days=4))
    repo = FeastFeatureStore("other", tmp_path / "state", {}, None, repo=tmp_path / "own" / "state")
    rows = repo.historical(spine(DAY + timedelta(days=3, hours=23)))
    assert rows.column("share").null_count < rows.num_rows
    signature = signature_of(repo, rows)
    views = kept(repo, tmp_path / "kept", signature)
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [
        "by_frame.odfv",
        "by_row.odfv",
        "one_row.odfv",
    ]
    assert all(b"dill" not in path.read_bytes() for path in (tmp_path / "kept").iterdir())
    asked = {name: [as_asked(value) for value in rows.column(name).to_pylist()] for name in rows.column_names}
    found = views.compute("by_row", asked, rows.num_rows)
    assert all(same(mine, other) for mine, other in zip(found["share"], rows.column("share").to_pylist(), strict=True))


def test_a_version_keeps_the_function_that_it_was_trained_with(tmp_path: Path) -> None:
    signature = Signature("regression", (Feature("amount", "float"), Feature("single", "float", "one_row")), on_demand=(OnDemandView("one_row", ("amount", "pieces")),))  # fmt: skip
    store = opened(tmp_path / "project")
    views = kept(store, tmp_path / "kept", signature)
    opened(tmp_path / "project", FEATURES.replace('inputs["amount"] * 2', 'inputs["amount"] * 3'))
    again = open_views(tmp_path / "kept", signature)
    for one in (views, again):
        assert one.compute("one_row", {"amount": [2.0], "pieces": [1.0]}, 1) == {"single": [4.0]}


def test_what_a_function_raises_is_said_with_its_view(tmp_path: Path) -> None:
    # Feast itself calls the function with samples when it is applied: this one fails later.
    failing = 'if inputs["pieces"] != 1:\n        raise SystemExit("no")\n    return {"single"'
    store = opened(tmp_path / "project", FEATURES.replace('return {"single"', failing))
    fill(store)
    with pytest.raises(ConfigError, match="on-demand view 'one_row' failed: SystemExit: no"):
        store.historical(spine(DAY + timedelta(days=2)))
    signature = Signature("regression", (), on_demand=(OnDemandView("one_row", ("amount", "pieces")),))
    views = kept(store, tmp_path / "kept", signature)
    with pytest.raises(ViewFailed, match="SystemExit: no"):
        views.compute("one_row", {"amount": [2.0], "pieces": [2.0]}, 1)
    with pytest.raises(DataError, match=r"2\.5"):
        views.compute("one_row", {"amount": [2.0], "pieces": [2.5]}, 1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'return {"share": share, "label"',
            'return {"share": share, "labels"',
            r"features \[label\] not found in inferred list of features \[sales__mean, mean",
        ),
        ('return {"share": share, "label": label}', 'return {"share": share[:1], "label": label[:1]}', "1 rows for 60"),
    ],
)
def test_a_function_that_gives_other_columns_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    store = opened(tmp_path / "project", FEATURES.replace(old, new))
    with pytest.raises(ConfigError, match=message):  # noqa: PT012 - Feast finds the one when it is applied
        fill(store)
        store.historical(spine(DAY + timedelta(days=2)))


def test_what_is_not_the_same_in_a_predictor_is_refused(tmp_path: Path) -> None:
    text = FEATURES.replace('mode="python",\n)', 'mode="python", write_to_online_store=True, entities=[shop],\n)', 1)
    with pytest.raises(ConfigError, match="'by_row' is written to the online store"):
        opened(tmp_path / "project", text).views()


def test_a_view_whose_rows_depend_on_each_other_is_refused(tmp_path: Path) -> None:
    text = FEATURES.replace('frame["pieces"] > frame["count"].fillna(-1)', 'frame["pieces"] > frame["pieces"].mean()')
    store = opened(tmp_path / "project", text)
    fill(store)
    with pytest.raises(ConfigError, match="`many` is False for a row alone and True for the same row among 60"):
        store.historical(spine(DAY + timedelta(days=2)))
