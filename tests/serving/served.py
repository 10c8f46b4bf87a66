"""A predictor in this process: a fake online store, segments on a real disk, REST without a socket."""

import json
from datetime import UTC, datetime

from mainspring.domain.errors import TemporaryError
from mainspring.domain.log_record import decode_row, frames, read_header, to_prediction
from mainspring.serving.checks import FLOAT32_LARGEST
from mainspring.serving.columns import ColumnTable
from mainspring.serving.config import OnlineStoreConfig, OnlineView, ServeConfig
from mainspring.serving.lookup import Lookup
from mainspring.serving.metrics import PredictorMetrics
from mainspring.serving.missing import policies
from mainspring.serving.online import OnlineRow
from mainspring.serving.predictor import Predictor
from mainspring.serving.process import build
from mainspring.serving.rest import RestApi
from mainspring.serving.runtime import load_runtime
from mainspring.telemetry.logs import Log
from tests.serving.models import FEATURES, RAIN

AT = datetime(2013, 3, 1, 12, tzinfo=UTC)
WEATHER = OnlineView("weather", ("town",), ("temp",), ttl_seconds=3600.0)
HEADERS = {"x-request-id": "q1", "mainspring-event-at": AT.isoformat(), "mainspring-arm": "candidate"}


class Store:
    """An online store with what a test puts into it."""

    def __init__(self):
        self.rows = {}
        self.away = False

    def read(self, wanted):
        if self.away:
            raise TemporaryError("the online store did not answer: connection refused", where="redis at cache:6379")
        return [[self.rows.get(keys) for keys in rows] for rows in wanted]

    def close(self):
        pass

    def put(self, town, temp, at):
        self.rows[(town,)] = OnlineRow(int(at.timestamp() * 1e6), (temp,))


class Served:
    """A predictor over a fake store, with its segments on a real disk."""

    def __init__(self, model, tmp_path, features=FEATURES, **options):
        folder, card = model
        online = OnlineStoreConfig(str(tmp_path / "none.db"), "rain", (WEATHER,))
        self.config = ServeConfig(
            "rain", "1", str(folder), str(tmp_path), 1, online=online, replayed_clock=True, **options
        )
        metrics = PredictorMetrics("rain", "1", self.config.build, [one.name for one in features])
        self.predictor, self.writer = build(self.config, metrics, Log())
        self.store = Store()
        how = policies(card.signature, self.config.missing, self.config.missing_by, self.config.defaults, strict=False)
        lookup = Lookup(card.signature, (WEATHER,), self.store, how, ("town",), metrics)
        table = ColumnTable(card.signature, [], max_rows=100, largest=FLOAT32_LARGEST)
        runtime = load_runtime(folder, card)
        self.predictor = Predictor(self.config, card, runtime, lookup, table, self.writer, metrics, Log())
        self.predictor.state = "ready"
        self.rest = RestApi(self.predictor)
        self.folder = tmp_path

    def ask(self, body=RAIN, path="/v2/models/rain/infer", method="POST", **headers):
        answer = self.rest.answer(method, path, HEADERS | headers, body)
        return answer.status, json.loads(answer.body) if path != "/metrics" else answer.body.decode()

    def logged(self):
        self.writer.rotate()
        rows = []
        for path in sorted(self.folder.glob("*.closed")):
            data = path.read_bytes()
            header, position = read_header(data)
            rows += [to_prediction(header, decode_row(payload)) for _, payload in frames(data, position)]
        return rows
