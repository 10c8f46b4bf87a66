"""HTTP/1.1 as callers use and misuse it, on the socket of a real predictor process."""

import asyncio
import contextlib
import errno
import json
import select
import socket
import time
from types import SimpleNamespace

import pytest

from tests.serving.models import RAIN
from tests.serving.real import running
from tests.serving.test_socket import CHUNKED, POST, chunk, whole

READY = b"GET /v2/health/ready HTTP/1.1\r\nhost: a\r\n\r\n"


class Caller:
    """One connection, and the answers that came on it so far."""

    def __init__(self, process, timeout=5):
        self.socket = socket.create_connection(("127.0.0.1", process.config.port), timeout=timeout)
        self.data = b""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)
        return self

    def answer(self):
        """Status, headers and body of the next answer."""
        while b"\r\n\r\n" not in self.data:
            self._more()
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        headers = dict(line.decode("latin-1").lower().split(": ", 1) for line in lines)
        while len(self.data) < int(headers.get("content-length", 0)):
            self._more()
        length = int(headers.get("content-length", 0))
        body, self.data = self.data[:length], self.data[length:]
        return int(first.split()[1]), headers, body

    def ended(self):
        """Whether the server closed, with nothing more to say."""
        return self.data == b"" and self.socket.recv(1000) == b""

    def _more(self):
        piece = self.socket.recv(65536)
        assert piece, f"closed after {self.data!r}"
        self.data += piece


@pytest.fixture
def caller(process):
    with Caller(process) as one:
        yield one


def test_a_connection_is_kept(caller):
    for _ in range(3):
        assert caller.send(whole()).answer()[0] == 200


def test_answers_come_in_the_order_of_pipelined_requests(caller):
    ids = [b"x-request-id: p%d" % place for place in range(40)]
    pieces = []
    for place, one in enumerate(ids):
        pieces += [whole(one)] if place % 3 else [READY, whole(one), POST + b"content-length: 1\r\n\r\n?"]
    caller.send(b"".join(pieces))
    found = [caller.answer() for _ in pieces]
    assert [one[0] for one in found if one[0] != 200] == [400] * 14
    assert [one[1]["mainspring-request-id"] for one in found if "mainspring-request-id" in one[1]] == [
        f"p{place}" for place in range(40)
    ]


def test_a_request_may_come_byte_by_byte(caller):
    for byte in whole():
        caller.send(bytes([byte]))
    assert caller.answer()[0] == 200


def test_who_shuts_his_side_still_gets_his_answer(caller):
    caller.send(whole() + whole())
    caller.socket.shutdown(socket.SHUT_WR)
    assert [caller.answer()[0], caller.answer()[0]] == [200, 200]
    assert caller.ended()


def test_who_asks_for_the_end_of_the_connection_gets_it(caller):
    status, headers, _ = caller.send(whole(b"connection: close")).answer()
    assert (status, headers["connection"]) == (200, "close")
    assert caller.ended()


def test_http_1_0_ends_its_connection(caller):
    assert caller.send(whole().replace(b"HTTP/1.1", b"HTTP/1.0")).answer()[0] == 200
    assert caller.ended()


def test_answers_have_a_date(caller):
    assert caller.send(READY).answer()[1]["date"].endswith(" gmt")


def test_a_body_is_asked_for_before_it_is_sent(caller):
    assert caller.send(POST + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(RAIN)).answer()[0] == 100
    assert caller.send(RAIN).answer()[0] == 200


def test_a_body_that_would_be_too_large_is_not_asked_for(caller):
    assert caller.send(POST + b"expect: 100-continue\r\ncontent-length: 99999999\r\n\r\n").answer()[0] == 413


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_offer_of_another_protocol_is_passed_over(caller, framing):
    """Java's own client offers h2c with every request in clear text."""
    offer = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAA\r\n"
    asked = whole() if framing == "length" else CHUNKED + chunk(RAIN) + chunk(b"")
    asked = asked.replace(b"host: a\r\n", b"host: a\r\nx-request-id: java\r\n" + offer)
    for _ in range(2):
        status, headers, _ = caller.send(asked).answer()
        assert (status, headers["mainspring-request-id"]) == (200, "java")


@pytest.mark.parametrize(
    ("data", "status", "says"),
    [
        (b"CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n", 405, "CONNECT; valid: GET, HEAD, POST"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "this is not HTTP/1.1"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400, "this is not HTTP/1.1"),
        (POST + b"x: " + b"y" * 70_000, 431, "headers: more than 64 KiB"),
        (b"GET /" + b"y" * 70_000, 431, "headers: more than 64 KiB"),
        (POST + b"transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n", 400, "this is not HTTP/1.1"),
        (whole(b"x: \r\n folded"), 400, "this is not HTTP/1.1"),
    ],
)
def test_what_is_refused_says_why_and_ends_the_connection(caller, data, status, says):
    found, _, body = caller.send(data).answer()
    assert (found, says in json.loads(body)["error"]) == (status, True), body
    assert caller.ended()


def test_a_refused_body_that_still_comes_does_not_hide_the_answer(caller):
    """A socket that is closed on unread bytes is reset, and a reset overtakes the answer."""
    caller.send(POST + b"content-length: 9000000\r\n\r\n")
    for _ in range(9):
        caller.send(b" " * 1_000_000)
    assert caller.answer()[0] == 413


def test_a_trailer_is_no_header(process, caller):
    caller.send(CHUNKED + chunk(RAIN) + b"0\r\nx-request-id: trailer\r\n\r\n")
    assert caller.answer()[1]["mainspring-request-id"] != "trailer"


def test_the_whole_url_of_a_proxys_caller_is_a_path(caller):
    asked = READY.replace(b"/v2/health", b"http://rain.example/v2/health").replace(b"ready", b"ready?a=b")
    assert caller.send(asked).answer()[0] == 200


def test_a_reader_who_is_slow_is_read_no_further_and_gets_everything(process):
    with Caller(process, timeout=30) as caller:
        page = b"GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n"
        caller.send(page * 1500)
        time.sleep(0.2)
        sizes = {len(caller.answer()[2]) for _ in range(1500)}
        assert len(sizes) == 1


def test_who_never_ends_his_request_is_told_and_cut_off(model, tmp_path):
    with (
        running(model[0], tmp_path, receive_seconds=0.2) as process,
        Caller(process) as caller,
        Caller(process) as idle,
    ):
        status, _, body = caller.send(POST + b"content-length: 50\r\n\r\nabcde").answer()
        assert (status, json.loads(body)["error"]) == (408, "request: not whole after 0.2 seconds")
        assert caller.ended()
        # Who began nothing is kept.
        assert idle.send(whole()).answer()[0] == 200


def test_an_ending_predictor_answers_and_sends_its_callers_elsewhere(model, tmp_path):
    with running(model[0], tmp_path, drain_seconds=1.0) as process, Caller(process) as caller, Caller(process) as late:
        caller.send(whole()).answer()
        late.send(POST)
        process.child.terminate()
        time.sleep(0.3)
        assert not process.ready()
        status, headers, _ = caller.send(whole()).answer()
        assert (status, headers["connection"]) == (200, "close")
        assert caller.ended()
        time.sleep(1.0)
        status, headers, _ = late.send(b"content-length: %d\r\n\r\n" % len(RAIN) + RAIN).answer()
        assert (status, headers["connection"]) == (200, "close")
        assert process.child.wait(5) == 0
        assert len(process.logged()) == 3


def test_who_pipelines_to_an_ending_predictor_takes_no_answer_from_others(served):
    """His first answer ends his connection; what he sent behind it is neither answered nor logged."""
    import uvloop

    from mainspring.serving.http1 import HttpServer

    async def ask():
        told = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        listening = socket.create_server(("127.0.0.1", 0))
        server, address = HttpServer(served.rest, most=10_000, receive_seconds=5), listening.getsockname()
        await server.start(listening)
        (one, to_one), (other, to_other) = [await asyncio.open_connection(*address) for _ in range(2)]
        while len(server.connections) < 2:
            await asyncio.sleep(0.01)
        server.draining = True
        to_one.write(whole(b"x-request-id: a") + whole(b"x-request-id: b"))
        to_other.write(whole(b"x-request-id: c"))
        try:
            return [await asyncio.wait_for(stream.read(-1), 5) for stream in (one, other)], told
        finally:
            for writer in (to_one, to_other):
                writer.close()
            await server.close(1)

    (one, other), told = uvloop.run(ask())
    assert (one.count(b"HTTP/1.1 "), one.count(b"mainspring-request-id: a")) == (1, 1)
    assert b"mainspring-request-id: c" in other
    assert told == []
    assert sorted(row.request_id for row in served.logged()) == ["a", "c"]


def test_who_connects_as_the_port_closes_is_refused_and_not_reset(served):
    """A connection that the kernel grants after the last one was taken is a promise that nobody keeps."""
    from mainspring.serving.http1 import HttpServer

    async def end():
        listening = socket.create_server(("127.0.0.1", 0))
        server, address = HttpServer(served.rest, most=1000, receive_seconds=5), listening.getsockname()
        await server.start(listening)
        caller, port = socket.socket(), server._listening
        caller.setblocking(False)
        server._listening = SimpleNamespace(
            setsockopt=port.setsockopt,
            accept=port.accept,
            close=lambda: (caller.connect_ex(address), port.close()),
        )
        await server.close(1)
        return caller

    with asyncio.run(end()) as caller:
        selected = select.select([], [caller], [], 5)[1]
        assert (selected, caller.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)) == ([caller], errno.ECONNREFUSED)


def test_who_connected_while_it_ends_has_time_to_ask(model, tmp_path):
    with (
        running(model[0], tmp_path, drain_seconds=0.3) as process,
        Caller(process) as before,
        contextlib.ExitStack() as later,
    ):
        before.send(whole()).answer()
        process.child.terminate()
        time.sleep(0.1)
        caller = later.enter_context(Caller(process))
        time.sleep(1.0)
        # Who was answered once and asks nothing more is not waited for.
        assert before.ended()
        status, headers, _ = caller.send(whole()).answer()
        assert (status, headers["connection"]) == (200, "close")
        ended = time.monotonic()
        assert process.child.wait(5) == 0
        assert time.monotonic() - ended < 1.0


def test_an_exception_of_ours_is_a_500_for_each_who_waited(served):
    """Not a connection that closes without a word."""
    from mainspring.serving.http1 import HttpServer

    async def ask():
        told = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))
        listening = socket.create_server(("127.0.0.1", 0))
        server = HttpServer(served.rest, most=1000, receive_seconds=5)
        await server.start(listening)
        served.rest.finish = lambda waiting: 1 / 0
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(whole())
        answer = await reader.read(4000)
        writer.close()
        await server.close(1)
        return answer, told

    answer, told = asyncio.run(ask())
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"the predictor failed: ZeroDivisionError" in answer
    assert [type(one) for one in told] == [ZeroDivisionError]


def test_who_ends_in_the_turn_in_which_he_asked_is_answered_first(served):
    """A read that fills the loop's buffer is followed by the next one, which may be the end, within one turn."""
    from mainspring.serving.http1 import HttpServer

    async def ask():
        listening = socket.create_server(("127.0.0.1", 0))
        server = HttpServer(served.rest, most=1000, receive_seconds=5)
        await server.start(listening)
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        while not server.connections:
            await asyncio.sleep(0.01)
        (connection,) = server.connections
        connection.data_received(whole())
        if not connection.eof_received():
            connection._transport.close()  # as asyncio does then
        answer = await reader.read(4000)
        writer.close()
        await server.close(1)
        return answer

    answer = asyncio.run(ask())
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close\r\n" in answer
