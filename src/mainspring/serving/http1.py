"""HTTP/1.1 on a socket: bytes to requests, answers to bytes; keep-alive, pipelining, limits, draining.

One thread, one loop: nothing is handed over between threads. Requests whose last byte was read in the same turn of the
loop are answered together at its end; nobody waits for who is not there yet. What a path means and what an answer says is
`serving.rest`'s. Framing is llhttp's, by way of httptools.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Protocol, cast

import httptools

from mainspring.serving.errors import HeadersTooLarge, ModelFailed, RequestError, TooSlow, WrongMethod
from mainspring.serving.rest import Answer, Waiting
from mainspring.settings.machine import accept_no_more

_MOST_HEAD_BYTES = 64 * 1024
_MOST_ROWS_TOGETHER = 256
"""More rows than these are not gathered for one run of the model: the first would wait for the last."""
_READ = (
    "content-type", "content-encoding", "content-length", "transfer-encoding", "inference-header-content-length",
    "x-request-id", "expect",
)  # fmt: skip
"""Headers that somebody reads; beside them those that begin with `mainspring-`."""
_OWN = b"mainspring-"
_LINGER_SECONDS = 2.0
"""How long what a refused caller still sends is read and thrown away: a socket that is closed on unread bytes is reset,
and the reset may overtake the answer."""
_GRACE_SECONDS = 0.2
"""How long a request may be on its way on a connection that was answered before."""
_FIRST_SECONDS = 2.0
"""How long who connected while the server ends may take to begin his request: he has been promised an answer, and a busy
machine keeps him from asking."""
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


class Api(Protocol):
    """What answers requests."""

    def begin(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer | Waiting:
        """The answer to a whole request, or what waits for the model."""
        ...

    def finish(self, waiting: Sequence[Waiting]) -> list[Answer]:
        """The answers to those that waited."""
        ...

    def refuse(self, path: str, error: RequestError) -> Answer:
        """The answer to a request that was not read to its end; no path where that was not read either."""
        ...

    def body_too_large(self, size: int) -> RequestError:
        """The error for a body of at least that many bytes."""
        ...


class HttpServer:
    """Serves `api` on a listening socket.

    `most` is the largest body in bytes. A request has to be there within `receive_seconds` of its first byte. While
    `draining`, each answer closes its connection, so that callers who come back come elsewhere.
    """

    def __init__(self, api: Api, *, most: int, receive_seconds: float) -> None:
        self.api = api
        self.most = most
        self.draining = False
        self.date = b""
        self.connections: set[_Connection] = set()
        self._receive_seconds = receive_seconds
        self._server: asyncio.Server | None = None
        self._waiting: list[Waiting] = []
        self._callers: list[tuple[_Connection, bool]] = []
        self._rows = 0
        self.tick()

    async def start(self, listening: socket.socket) -> None:
        """Accept connections."""
        self._loop = asyncio.get_running_loop()
        self._listening = listening.dup()
        self._server = await self._loop.create_server(lambda: _Connection(self), sock=listening, backlog=2048)

    def tick(self) -> None:
        """Once a second: the date of answers, and the end of who began a request and does not end it."""
        self.date = b"date: %s\r\n" % formatdate(usegmt=True).encode()
        now = time.monotonic()
        for one in list(self.connections):
            one.expire(now, self._receive_seconds)

    def gather(self, caller: _Connection, keeps: bool, waiting: Waiting) -> None:
        """Answer `caller` at the end of this turn of the loop."""
        if not self._waiting:
            self._loop.call_soon(self.flush)
        self._waiting.append(waiting)
        self._callers.append((caller, keeps))
        self._rows += waiting.pending.count
        if self._rows >= _MOST_ROWS_TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Answer everybody who waits."""
        waiting, callers = self._waiting, self._callers
        if not waiting:
            return
        self._waiting, self._callers, self._rows = [], [], 0
        try:
            answers = self.api.finish(waiting)
        except Exception as error:  # a caller waits for each of them
            for caller, _ in callers:
                caller.failed(error)
            return
        for (caller, keeps), answer in zip(callers, answers, strict=True):
            caller.answered(answer, keeps)

    async def close(self, within_seconds: float) -> int:
        """Accept nobody, answer what was begun, close; how many callers had to be cut off after `within_seconds`."""
        self.draining = True
        began = time.monotonic()
        if self._server is not None:
            accept_no_more(self._listening)
        # Who began to connect may not be there yet, and a request may be on its way on a connection that looks idle.
        await asyncio.sleep(min(_GRACE_SECONDS, within_seconds))
        if self._server is not None:
            self._server.close()
            await self._accept_last()
        while (now := time.monotonic()) - began < within_seconds:
            since = now - _FIRST_SECONDS
            for one in list(self.connections):
                one.close_if_idle(since)
            if not any(one.owed or one.is_new(since) for one in self.connections):
                break
            await asyncio.sleep(0.01)
        owed = sum(one.owed for one in self.connections)
        for one in list(self.connections):
            one.abort()
        return owed

    async def _accept_last(self) -> None:
        """Take whoever connected since the loop last looked: closed on them, the socket would reset them."""
        while True:
            try:
                caller, _ = self._listening.accept()
            except OSError:
                break
            caller.setblocking(False)
            await self._loop.connect_accepted_socket(lambda: _Connection(self), caller)
        self._listening.close()


class _Connection(asyncio.Protocol):
    """One caller. The parser calls `on_...`; requests are answered in their order because each is answered at once."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._parser: Any = httptools.HttpRequestParser(self)
        self._began = 0.0
        self._lingers_until = 0.0
        self._in_head = True
        self._head_bytes = 0
        self._waits = False
        self._keeps = True
        self.on_message_begin()
        self._began = 0.0
        self._came = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's: a caller came."""
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self)
        handle = transport.get_extra_info("socket")
        if handle is not None:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's: he is gone."""
        self._server.connections.discard(self)

    def eof_received(self) -> bool:
        """asyncio's: he sends no more, and may still read."""
        self._keeps = False
        return self._waits

    def pause_writing(self) -> None:
        """asyncio's: he reads slower than he asks, so he is read no further."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """asyncio's: he has read."""
        self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """asyncio's: bytes."""
        if self._lingers_until:
            return
        if self._in_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._stay(data[upgrade.args[0] :])
            return
        except httptools.HttpParserCallbackError as error:
            self.failed(error.__context__)
            return
        except httptools.HttpParserError as error:
            # One who answers `Connection: close` with more bytes has had his answer.
            if not self._transport.is_closing() and not self._lingers_until:
                self._refuse(RequestError(f"this is not HTTP/1.1: {error}", where="request"))
            return
        if self._in_head and self._head_bytes > _MOST_HEAD_BYTES:
            self._refuse(HeadersTooLarge("more than 64 KiB", where="headers", valid="at most 64 KiB"))

    def on_message_begin(self) -> None:
        """httptools': a request's first byte."""
        self._began = time.monotonic()
        self._came = 0.0
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        """httptools': its target, or a piece of it."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools': a header; of several of one name the first counts."""
        if not self._in_head:
            return  # a trailer
        key = _NAMES.get(name)
        if key is None:
            lower = name.lower()
            key = _NAMES.get(lower)
            if key is None:
                if not lower.startswith(_OWN):
                    return
                key = lower.decode("latin-1")
        self._headers.setdefault(key, value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        """httptools': the body comes next; one that is too large is not read."""
        self._in_head = False
        self._head_bytes = 0
        headers = self._headers
        if self._parser.get_method() == b"CONNECT":
            raise WrongMethod("CONNECT", valid="GET, HEAD, POST")
        length = headers.get("content-length", "")
        if length and int(length) > self._server.most:
            raise self._server.api.body_too_large(int(length))
        if "expect" in headers and headers["expect"].lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, piece: bytes) -> None:
        """httptools': a piece of the body."""
        self._size += len(piece)
        if self._size > self._server.most:
            raise self._server.api.body_too_large(self._size)
        self._body.append(piece)

    def on_message_complete(self) -> None:
        """httptools': its last byte; it is answered here."""
        parser = self._parser
        if parser.should_upgrade():
            return
        self._began = 0.0
        self._in_head = True
        if self._waits:
            self._server.flush()  # answers go out in the order of the requests
        if self._lingers_until:
            return  # the last answer of this connection has gone out; who pipelined more asks again elsewhere
        pieces = self._body
        method = parser.get_method().decode()
        keeps = parser.should_keep_alive() and not self._server.draining
        found = self._server.api.begin(
            method, self._path(), self._headers, pieces[0] if len(pieces) == 1 else b"".join(pieces)
        )
        if isinstance(found, Answer):
            self.answered(found, keeps, bodiless=method == "HEAD")
        else:
            self._waits = True
            self._server.gather(self, keeps, found)

    def answered(self, answer: Answer, keeps: bool, *, bodiless: bool = False) -> None:
        """Send the answer to the oldest request that has none."""
        self._waits = False
        keeps = keeps and self._keeps
        self._write(answer, keeps, bodiless=bodiless)
        if not keeps:
            self._linger()

    def expire(self, now: float, receive_seconds: float) -> None:
        """End a request that does not end, and a connection that lingered."""
        if self._lingers_until:
            if now > self._lingers_until:
                self._transport.abort()
        elif self._began and now - self._began > receive_seconds:
            self._refuse(TooSlow(f"not whole after {receive_seconds:g} seconds", where="request"))

    @property
    def owed(self) -> bool:
        """Whether an answer, or the end of one, has not gone out yet."""
        if self._lingers_until:
            return self._transport.get_write_buffer_size() > 0
        return bool(self._began) or self._waits

    def is_new(self, since: float) -> bool:
        """Whether he came after that moment and has not begun to ask yet."""
        return self._came > since

    def close_if_idle(self, since: float) -> None:
        """Close unless an answer is owed or, to who came after `since`, promised."""
        if not (self.owed or self.is_new(since) or self._lingers_until):
            self._transport.close()

    def abort(self) -> None:
        """Close whatever is open."""
        self._transport.abort()

    def _stay(self, rest: bytes) -> None:
        """An offer to speak another protocol (Java's client offers h2c each time) is passed over: the same request without it."""
        head = [b"%s %s HTTP/1.1" % (self._parser.get_method(), self._url)]
        head += [f"{name}: {value}".encode("latin-1") for name, value in self._headers.items()]
        self._parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join([*head, b"", rest]))

    def _path(self) -> str:
        url = self._url
        if not url.startswith(b"/"):
            try:
                url = httptools.parse_url(url).path or b"/"
            except httptools.HttpParserInvalidURLError:
                return url.decode("latin-1")
        return (url if b"?" not in url else url.partition(b"?")[0]).decode("latin-1")

    def failed(self, error: BaseException | None) -> None:
        """Refuse a request that was whole or not; what is nobody's mistake but ours is told to the log."""
        self._waits = False
        if isinstance(error, RequestError):
            self._refuse(error)
            return
        context = {"message": "a request was not answered", "exception": error, "transport": self._transport}
        asyncio.get_running_loop().call_exception_handler(context)
        self._refuse(ModelFailed(f"the predictor failed: {type(error).__name__}"))

    def _refuse(self, error: RequestError) -> None:
        if self._waits:
            self._server.flush()
        self._began = 0.0
        self._write(self._server.api.refuse(self._path(), error), keeps=False)
        self._linger()

    def _write(self, answer: Answer, keeps: bool, *, bodiless: bool = False) -> None:
        if self._transport.is_closing() or self._lingers_until:
            return
        body = answer.body
        fields = "".join([f"{name}: {value}\r\n" for name, value in answer.headers]).encode("latin-1")
        head = b"HTTP/1.1 %d %s\r\ncontent-length: %d\r\n%s%s%s\r\n" % (
            answer.status,
            _REASONS[answer.status],
            len(body),
            self._server.date,
            fields,
            b"" if keeps else b"connection: close\r\n",
        )
        self._transport.write(head if bodiless else head + body)

    def _linger(self) -> None:
        if self._transport.is_closing():
            return
        self._lingers_until = time.monotonic() + _LINGER_SECONDS
        if self._transport.can_write_eof():
            self._transport.write_eof()


_NAMES: dict[bytes, str] = {name.encode(): name for name in _READ}
