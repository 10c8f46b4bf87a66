"""`python -m mainspring.serving.process serve.json`: one predictor, until SIGTERM.

It locks `serve.lock` beside its configuration while it lives: a second one on the same folder ends at once. On SIGTERM it
says that it is not ready, goes on answering for `drain_seconds`, finishes open requests, closes its segment and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mainspring.domain.concealment import Concealment
from mainspring.domain.errors import ConfigError, MainspringError
from mainspring.domain.log_record import ColumnKind, SegmentHeader
from mainspring.domain.model_version import Signature
from mainspring.serving.columns import ColumnTable, is_text
from mainspring.serving.config import OnlineStoreConfig, ServeConfig, read_config
from mainspring.serving.http1 import HttpServer
from mainspring.serving.lookup import Lookup
from mainspring.serving.metrics import PredictorMetrics
from mainspring.serving.missing import policies
from mainspring.serving.on_demand import FOLDER, OnDemand
from mainspring.serving.online import named, open_online
from mainspring.serving.predictor import Predictor, warm_up
from mainspring.serving.rest import RestApi
from mainspring.serving.runtime import load_card, load_runtime, single_threaded
from mainspring.serving.segment_writer import SegmentWriter
from mainspring.serving.workers import Workers
from mainspring.settings.log_key import given_key
from mainspring.telemetry.logs import Log

LOCK = "serve.lock"
_TICK_SECONDS = 1.0
_BACKLOG = 2048


def build(config: ServeConfig, metrics: PredictorMetrics, log: Log) -> tuple[Predictor, SegmentWriter]:
    """A predictor that is warm, and its log's writer."""
    folder = Path(config.model)
    card = load_card(folder)
    runtime = load_runtime(folder, card)
    store = _needed(config.online, card.signature)
    views = store.views if store else ()
    own = {feature.name for feature in card.signature.features}
    columns = [view.columns.get(key, key) for view in views for key in view.entities]
    entities = list(dict.fromkeys(columns))
    kinds: tuple[ColumnKind, ...] = tuple("text" if is_text(one) else "number" for one in card.signature.features)
    header = SegmentHeader(
        config.version,
        config.build,
        tuple(feature.name for feature in card.signature.features),
        kinds,
        tuple(entities),
        tuple(view.name for view in views),
    )
    writer = SegmentWriter(
        Path(config.segments),
        header,
        fsync=config.fsync,
        segment_bytes=config.segment_bytes,
        segment_seconds=config.segment_seconds,
        concealment=_concealment(config),
    )
    table = ColumnTable(
        card.signature,
        [name for name in entities if name not in own],
        max_rows=config.max_rows,
        largest=runtime.largest,
    )
    lookup = Lookup(
        card.signature,
        views,
        open_online(store) if store else None,
        policies(card.signature, config.missing, config.missing_by, config.defaults, strict=False),
        entities,
        metrics,
        _on_demand(config, card.signature),
        log,
    )
    warm_up(runtime, card, config.warm_up_requests)
    writer.check()
    return Predictor(config, card, runtime, lookup, table, writer, metrics, log), writer


def _concealment(config: ServeConfig) -> Concealment | None:
    if not (config.log_drop or config.log_hash):
        return None
    return Concealment(config.log_drop, config.log_hash, given_key(config.log_key_file))


def _needed(online: OnlineStoreConfig | None, signature: Signature) -> OnlineStoreConfig | None:
    """The store with what this version looks up, and nothing else: what is not needed is neither read nor decoded."""
    if online is None:
        return None
    sources = {one.name: one.source for one in (*signature.features, *signature.inputs)}
    views = [
        replace(view, features=tuple(name for name in view.features if sources.get(name) == view.name))
        for view in online.views
    ]
    return replace(online, views=tuple(view for view in views if view.features))


def _on_demand(config: ServeConfig, signature: Signature) -> OnDemand | None:
    if not signature.on_demand:
        return None
    if not config.on_demand:
        raise ConfigError(
            f"this version has on-demand views ({', '.join(one.name for one in signature.on_demand)}), and the "
            "configuration does not say what opens them",
            valid="on_demand: module:function",
        )
    opened: OnDemand = named(config.on_demand)(Path(config.model) / FOLDER, signature)
    return opened


async def serve(
    config: ServeConfig,
    predictor: Predictor,
    writer: SegmentWriter,
    log: Log,
    listening: socket.socket,
    alive: Callable[[], None],
) -> None:
    """Answer until SIGTERM or SIGINT; `alive` is called each second."""
    server = HttpServer(RestApi(predictor), most=config.max_body_bytes, receive_seconds=config.receive_seconds)
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(wanted, ending.set)
    grpc_server = None
    if config.grpc_port:
        # Imported where it is wanted: it takes memory and a thread.
        from mainspring.serving.grpc_api import start

        grpc_server = await start(predictor)
    await server.start(listening)
    # What start-up made stays: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    predictor.state = "ready"
    while not ending.is_set():
        alive()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ending.wait(), _TICK_SECONDS)
        server.tick()
        predictor.metrics.readiness(predictor.ready)
        writer.rotate_if_old()
    predictor.state = "ending"
    server.draining = True
    await asyncio.sleep(config.drain_seconds)
    endings = [server.close(config.timeout_seconds)]
    if grpc_server is not None:
        endings.append(grpc_server.stop(config.timeout_seconds))
    cut_off, *_ = await asyncio.gather(*endings)
    if cut_off:
        log.warning("callers that were still sending were cut off", after_seconds=config.timeout_seconds)


def main(path: Path) -> int:
    """Serve until told to end; 2 for a configuration that cannot be served."""
    single_threaded()
    log = Log()
    lock = os.open(path.with_name(LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    if not _taken(lock):
        log.info("another process serves this folder", folder=str(path.parent))
        return 0
    os.ftruncate(lock, 0)
    try:
        config = read_config(path)
        # Whoever started this process may have been killed before it wrote down where to find it.
        os.pwrite(lock, f"{os.getpid()} {config.port} {config.grpc_port}".encode(), 0)
        log = log.bind(model=config.name, version=config.version, build=config.build)
        listening = _listen(config)
        metrics = PredictorMetrics.of(config, load_card(Path(config.model)))
    except (MainspringError, OSError) as error:
        log.error("cannot serve", reason=str(error))
        return 2

    def work(worker: int, own: socket.socket, alive: Callable[[], None]) -> int:
        metrics.use_row(worker)
        return _serve_one(config, metrics, log, own, alive)

    if config.workers == 1:
        return work(0, listening[0], lambda: None)
    ending_seconds = config.drain_seconds + config.timeout_seconds + 1.0
    return Workers(work, listening, log, ending_seconds=ending_seconds).run()


def _serve_one(
    config: ServeConfig, metrics: PredictorMetrics, log: Log, listening: socket.socket, alive: Callable[[], None]
) -> int:
    try:
        predictor, writer = build(config, metrics, log)
    except (MainspringError, OSError) as error:
        log.error("cannot serve", reason=str(error))
        return 2
    import uvloop

    log.info("serving", port=config.port, **({"grpc_port": config.grpc_port} if config.grpc_port else {}))
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(config, predictor, writer, log, listening, alive))
    except ConfigError as error:
        log.error("cannot serve", reason=str(error))
        return 2
    finally:
        writer.rotate()
    log.info("ended")
    return 0


def _taken(lock: int) -> bool:
    """Who asks for the holder has the lock for a moment, so one refusal means nothing."""
    for _ in range(10):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            return True
    return False


def _listen(config: ServeConfig) -> list[socket.socket]:
    """A listening socket for each worker; the kernel divides the callers among them."""
    if config.grpc_port:
        _bound(config.host, config.grpc_port, shared=False).close()
    several = config.workers > 1
    if several:
        # Shared with nobody else's process.
        _bound(config.host, config.port, shared=False).close()
    found = [_bound(config.host, config.port, shared=several) for _ in range(config.workers)]
    for one in found:
        one.listen(_BACKLOG)
        one.setblocking(False)
    return found


def _bound(host: str, port: int, *, shared: bool) -> socket.socket:
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        one.bind((host, port))
    except OSError as error:
        one.close()
        raise ConfigError(f"port {port} cannot be used: {error.strerror}", valid="a free port") from error
    return one


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
