"""Entity key in, features from Feast's online store, model, answer: our predictor beside Feast's SDK in KServe's SDK server.

100,000 users, two views of five features on SQLite, 200 trees, one core each; every request asks for another user, and the
prediction log is on. `python benchmarks/online_features.py [--json] [--repetitions 5] [--seconds 5]`; wrk is Debian's package.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from peers.environment import python_of
from report import Row, report
from serving import TREES, free_port, load, options, started

USERS = 100_000
VIEWS = {"profile": [f"p{place}" for place in range(5)], "recent": [f"r{place}" for place in range(5)]}
_HERE = Path(__file__).parent


def main() -> None:
    """Run the benchmark."""
    arguments = options(__doc__)
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_store(folder / "repo")
        write_model(folder)
        script = question(folder)
        found: dict[str, list[float]] = {"product": [], "peer": []}
        for _ in range(arguments.repetitions):
            for server, command in commands(folder).items():
                with started(command(port := free_port()), port):
                    load(port, script, 1)
                    found[server].append(load(port, script, arguments.seconds)[0])
                print(f"  {server}: {found[server][-1]:,.0f}/s", file=sys.stderr)
    product, peer = (median(found[name]) for name in ("product", "peer"))
    report(
        [Row("requests/s beside Feast's SDK in KServe's", product, peer, 30.0, rate=True, unit="/s")],
        as_json=arguments.json,
    )


def write_store(repo: Path) -> None:
    """A Feast repository whose online store has every user's row in both views."""
    import numpy as np
    import pandas as pd
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.types import Float64, String

    repo.mkdir()
    (repo / "feature_store.yaml").write_text(
        "project: bench\nprovider: local\nregistry: registry.db\nonline_store: {type: sqlite, path: online.db}\n"
        "entity_key_serialization_version: 3\n"
    )
    store = FeatureStore(repo_path=str(repo))
    user = Entity(name="user", join_keys=["user"], value_type=ValueType.STRING)
    views = [
        FeatureView(
            name=view,
            entities=[user],
            schema=[Field(name="user", dtype=String), *(Field(name=one, dtype=Float64) for one in names)],
            source=FileSource(name=view, path=f"{view}.parquet", timestamp_field="event_timestamp"),
        )
        for view, names in VIEWS.items()
    ]
    store.apply([user, *views])
    generator = np.random.default_rng(5)
    for view, names in VIEWS.items():
        frame = pd.DataFrame(generator.normal(size=(USERS, len(names))), columns=names)
        frame["user"] = [f"u{place}" for place in range(USERS)]
        frame["event_timestamp"] = datetime.now(UTC)
        store.write_to_online_store(view, df=frame)


def write_model(folder: Path) -> None:
    """The same booster twice: as a file of its own, and as our registry exports it."""
    import numpy as np
    import pandas as pd
    import xgboost

    from mainspring.domain.model_card import ModelCard
    from mainspring.domain.model_version import Feature, Signature
    from mainspring.registry.export import Trained, export
    from mainspring.serving.runtime import load_runtime

    generator = np.random.default_rng(4)
    columns = [one for names in VIEWS.values() for one in names]
    X = pd.DataFrame(generator.normal(size=(20_000, len(columns))), columns=columns)
    y = (X.p0 + X.p1 * X.r0 + generator.normal(size=len(X)) > 0).astype(int)
    model = xgboost.XGBClassifier(n_estimators=TREES, max_depth=6, random_state=4).fit(X, y)
    model.get_booster().save_model(folder / "trees.ubj")
    features = tuple(Feature(one, "float", view) for view, names in VIEWS.items() for one in names)
    card = ModelCard("trees", "binary", "onnx", Signature("binary", features, ("user",)))
    rows = X.head(500).to_numpy().tolist()

    def replay(at: Path, one: ModelCard, given: Any) -> Any:
        return np.array(load_runtime(at, one).predict(given))[:, 0]

    export(Trained(model, rows, model.predict_proba(X.head(500))[:, 1]), card, folder / "model", replay)


def question(folder: Path) -> Path:
    """A wrk script in which every request asks for a user by chance."""
    body = json.dumps({"inputs": [{"name": "user", "shape": [1], "datatype": "BYTES", "data": ["u%d"]}]})
    script = folder / "ask.lua"
    script.write_text(
        f"local body = [[{body}]]\nlocal headers = {{['content-type'] = 'application/json'}}\n"
        "function init() math.randomseed(os.time()) end\n"
        "function request() return wrk.format('POST', '/v2/models/trees/infer', headers, "
        f"string.format(body, math.random(0, {USERS - 1}))) end\n"
    )
    return script


def commands(folder: Path) -> dict[str, Callable[[int], list[str]]]:
    """How each server is started on a port."""
    repo = folder / "repo"
    views = [{"name": view, "entities": ["user"], "features": names} for view, names in VIEWS.items()]
    peer = str(python_of("kserve_feast"))

    def ours(port: int) -> list[str]:
        place = folder / f"serve-{port}"
        place.mkdir()
        online = {"path": str(repo / "online.db"), "project": "bench", "views": views}
        config = {"name": "trees", "version": "1", "model": str(folder / "model"), "segments": str(place), "port": port}
        (place / "serve.json").write_text(json.dumps({**config, "online": online}))
        return [sys.executable, "-m", "mainspring.serving.process", str(place / "serve.json")]

    server = str(_HERE / "peers/kserve_feast/server.py")
    return {"product": ours, "peer": lambda port: [peer, server, str(folder / "trees.ubj"), str(port), str(repo)]}


if __name__ == "__main__":
    main()
