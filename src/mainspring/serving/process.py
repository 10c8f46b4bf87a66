"""`python -m mainspring.serving.process serve.json`: one predictor process under Granian, until SIGTERM.

It locks `serve.lock` beside its configuration while it lives: a second one on the same folder ends at once. On SIGTERM it
says that it is not ready, goes on answering for `drain_seconds`, finishes open requests, closes its segment and ends.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from mainspring.domain.errors import ConfigError, MainspringError
from mainspring.domain.log_record import ColumnKind, SegmentHeader
from mainspring.domain.model_version import Signature
from mainspring.serving.columns import ColumnTable, is_text
from mainspring.serving.config import OnlineStoreConfig, ServeConfig, read_config
from mainspring.serving.lookup import Lookup
from mainspring.serving.metrics import PredictorMetrics
from mainspring.serving.missing import policies
from mainspring.serving.on_demand import FOLDER, OnDemand
from mainspring.serving.online import named, open_online
from mainspring.serving.predictor import Predictor, warm_up
from mainspring.serving.rest import RestApi
from mainspring.serving.runtime import load_card, load_runtime, single_threaded
from mainspring.serving.segment_writer import SegmentWriter
from mainspring.telemetry.logs import Log

LOCK = "serve.lock"
_ROTATE_SECONDS = 1.0


def build(config: ServeConfig, log: Log) -> tuple[Predictor, SegmentWriter]:
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
    )
    table = ColumnTable(
        card.signature,
        [name for name in entities if name not in own],
        max_rows=config.max_rows,
        largest=runtime.largest,
    )
    looked_at = (*card.signature.features, *card.signature.inputs)
    metrics = PredictorMetrics(config.name, config.version, config.build, [feature.name for feature in looked_at])
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


async def serve(config: ServeConfig, predictor: Predictor, writer: SegmentWriter, log: Log) -> None:
    """Answer until SIGTERM or SIGINT."""
    from granian.constants import HTTPModes, Interfaces
    from granian.server.embed import Server

    api = RestApi(predictor)
    most = config.max_body_bytes

    async def app(scope: Any, proto: Any) -> None:
        length = scope.headers.get("content-length", "")
        if length and int(length) > most:
            answer = api.refuse_body(scope.path, int(length))
        else:
            body = await (proto() if length else _read(proto, most))
            answer = api.answer(scope.method, scope.path, scope.headers, body)
        proto.response_bytes(answer.status, answer.headers, answer.body)

    logging.getLogger("_granian").setLevel(logging.ERROR)
    server = Server(
        app,
        address=config.host,
        port=config.port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
    )
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(wanted, ending.set)
    grpc_server = None
    if config.grpc_port:
        # Imported where it is wanted: it takes memory and a thread.
        from mainspring.serving.grpc_api import start

        grpc_server = await start(predictor)
    serving = loop.create_task(server.serve())
    predictor.ready = True
    while not ending.is_set() and not serving.done():
        try:
            await asyncio.wait_for(ending.wait(), _ROTATE_SECONDS)
        except TimeoutError:
            writer.rotate_if_old()
    predictor.ready = False
    if not serving.done():
        await asyncio.sleep(config.drain_seconds)
        server.stop()
    endings: set[asyncio.Task[Any]] = {serving}
    if grpc_server is not None:
        endings.add(loop.create_task(grpc_server.stop(config.timeout_seconds)))
    ended, open_still = await asyncio.wait(endings, timeout=config.timeout_seconds)
    for one in ended:
        one.result()
    if open_still:
        log.warning("callers that were still sending were cut off", after_seconds=config.timeout_seconds)
        # Granian's own callbacks may still come, to futures that are cancelled now.
        loop.set_exception_handler(lambda loop, context: None)


async def _read(proto: Any, most: int) -> bytes:
    """A body that comes without its length, up to the first piece with which it is larger than `most` bytes."""
    pieces: list[bytes] = []
    size = 0
    async for piece in proto:
        pieces.append(piece)
        size += len(piece)
        if size > most:
            break
    return b"".join(pieces)


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
        os.pwrite(lock, f"{os.getpid()} {config.port}".encode(), 0)
        log = log.bind(model=config.name, version=config.version, build=config.build)
        _port_is_free(config)
        predictor, writer = build(config, log)
    except (MainspringError, OSError) as error:
        log.error("cannot serve", reason=str(error))
        return 2
    import uvloop

    log.info("serving", port=config.port, **({"grpc_port": config.grpc_port} if config.grpc_port else {}))
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(config, predictor, writer, log))
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


def _port_is_free(config: ServeConfig) -> None:
    import socket

    for port in filter(None, (config.port, config.grpc_port)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((config.host, port))
            except OSError as error:
                raise ConfigError(f"port {port} cannot be used: {error.strerror}", valid="a free port") from error


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
