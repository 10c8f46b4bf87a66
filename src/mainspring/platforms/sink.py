"""The prediction log's sink, as the project's settings say: the store, who brings it up to date, and the whole log to read."""

from __future__ import annotations

from datetime import datetime

from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.adapters.sinks.check import Checked, check
from mainspring.adapters.sinks.history import SunkPredictionLog
from mainspring.adapters.sinks.hours import HourStore
from mainspring.adapters.sinks.shipper import Backlog, Shipper
from mainspring.adapters.sinks.shipper import backlog as waiting
from mainspring.adapters.sinks.state import SentHour, SinkState
from mainspring.domain.errors import ConfigError
from mainspring.settings.load import LoadedProject
from mainspring.settings.log_sink import SinkSettings

WholeLog = ParquetPredictionLog | SunkPredictionLog


def hour_store(loaded: LoadedProject, sink: SinkSettings) -> HourStore:
    """What stands behind the sink's URL. Errors: `ConfigError` when the client that it needs is not installed."""
    if sink.kind == "bigquery":
        from mainspring.adapters.bigquery.store import BigQueryHours

        found: HourStore = BigQueryHours(sink)
        return found
    from mainspring.adapters.sinks.parquet_store import ParquetHours

    return ParquetHours(sink, loaded.settings.s3)


def shipper(loaded: LoadedProject, log: ParquetPredictionLog | None = None) -> Shipper | None:
    """Who brings the sink up to the log; None for a project without one."""
    sink = loaded.settings.log.sink
    if sink is None:
        return None
    return Shipper(sink, loaded.paths, log or ParquetPredictionLog(loaded.paths), hour_store(loaded, sink))


def required_shipper(loaded: LoadedProject) -> Shipper:
    """The same. Errors: `ConfigError` for a project without a sink."""
    found = shipper(loaded)
    if found is None:
        raise ConfigError(
            "the prediction log goes to no sink",
            where="mainspring.yaml: log.sink",
            valid="s3://bucket/prefix, bigquery://project/dataset/table or file:///folder",
        )
    return found


def backlog(loaded: LoadedProject, sink: SinkSettings) -> Backlog:
    """What the sink does not have yet; nothing is asked of it."""
    return waiting(ParquetPredictionLog(loaded.paths), SinkState(loaded.paths.log_sink, sink.url))


def sent_before(loaded: LoadedProject, sink: SinkSettings, than: datetime) -> list[SentHour]:
    """Hours that were sent and ended before an instant, oldest first."""
    return SinkState(loaded.paths.log_sink, sink.url).older(than)


def check_sink(loaded: LoadedProject, *, rows: bool) -> Checked:
    """Whether the sink has what was sent. Errors: `ConfigError` without a sink, and those of the sink."""
    found = required_shipper(loaded)
    return check(ParquetPredictionLog(loaded.paths), found.store, found.state, rows=rows)


def whole_log(loaded: LoadedProject) -> WholeLog:
    """The prediction log with what only its sink has any more; what looks far back reads here."""
    local, sink = ParquetPredictionLog(loaded.paths), loaded.settings.log.sink
    if sink is None:
        return local
    state = SinkState(loaded.paths.log_sink, sink.url)
    if sink.local is None and not any(one.gone for one in state.all().values()):
        return local  # what the sink has is here as well
    return SunkPredictionLog(local, hour_store(loaded, sink), state)
