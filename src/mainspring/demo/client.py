"""Callers of the demo: many requests at once over kept-open connections, each failure counted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from mainspring.domain.errors import TemporaryError


@dataclass(frozen=True, slots=True)
class Question:
    """One request: its id, the instant at which it is asked (RFC 3339), and the JSON body."""

    id: str
    event_at: str
    body: bytes


@dataclass(slots=True)
class Tally:
    """What callers saw: requests, those without an answer of status 200, and the first few failures in words."""

    requests: int = 0
    failed: int = 0
    examples: list[str] | None = None

    def add(self, question: Question, status: int, text: str) -> None:
        """Count one answer."""
        self.requests += 1
        if status != 200:
            self.failed += 1
            self.examples = [*(self.examples or []), f"{question.id}: {status} {text[:200]}"][:5]


class Callers:
    """A fixed number of callers that share a list of questions; closed-loop, HTTP/1.1, keep-alive."""

    def __init__(self, address: str, path: str, *, connections: int = 8, timeout_seconds: float = 30.0) -> None:
        self._host, port = address.removeprefix("http://").rstrip("/").split(":")
        self._port = int(port)
        self._path = path
        self._timeout_seconds = timeout_seconds
        self._runner = asyncio.Runner()
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._connections = connections
        self.tally = Tally()

    def ask(self, questions: Sequence[Question]) -> None:
        """Ask all of them; returns when each has its answer or has failed."""
        self._runner.run(self._ask(questions))

    def close(self) -> None:
        """Close the connections."""
        for _, writer in self._idle:
            writer.close()
        self._runner.close()

    async def _ask(self, questions: Sequence[Question]) -> None:
        left = iter(questions)
        await asyncio.gather(*(self._caller(left) for _ in range(min(self._connections, len(questions)))))

    async def _caller(self, left: object) -> None:
        for question in left:  # type: ignore[attr-defined]  # one iterator shared by all callers
            status, text = await self._exchange(question)
            self.tally.add(question, status, text)

    async def _exchange(self, question: Question) -> tuple[int, str]:
        head = (
            f"POST {self._path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
            f"x-request-id: {question.id}\r\nmainspring-event-at: {question.event_at}\r\n"
            f"Content-Length: {len(question.body)}\r\n\r\n"
        )
        try:
            reader, writer = self._idle.pop() if self._idle else await self._connect()
            writer.write(head.encode() + question.body)
            async with asyncio.timeout(self._timeout_seconds):
                status, body, reusable = await _read_answer(reader)
        except (OSError, TemporaryError, asyncio.IncompleteReadError, TimeoutError) as error:
            return 0, f"{type(error).__name__}: {error}"
        if reusable:
            self._idle.append((reader, writer))
        else:
            writer.close()
        return status, body.decode(errors="replace") if status != 200 else ""

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._host, self._port)


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ", 2)[1])
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
    reusable = headers.get("connection") != "close"
    if "content-length" in headers:
        return status, await reader.readexactly(int(headers["content-length"])), reusable
    if headers.get("transfer-encoding") != "chunked":
        return status, await reader.read(), False
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return status, body, reusable
