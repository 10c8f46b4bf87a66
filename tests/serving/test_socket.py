"""What a predictor's own process makes of bytes on a socket that no client library would send."""

import contextlib
import socket

import pytest

from tests.serving.models import RAIN
from tests.serving.real import running

POST = b"POST /v2/models/rain/infer HTTP/1.1\r\nhost: a\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"


def status(process, data):
    """The status of the first answer to `data`."""
    with socket.create_connection(("127.0.0.1", process.config.port), timeout=5) as connection:
        # It may be refused before everything was sent.
        with contextlib.suppress(OSError):
            connection.sendall(data)
        return int(connection.recv(4000).split()[1])


def whole(*headers, body=RAIN):
    return POST + b"".join(one + b"\r\n" for one in (*headers, b"content-length: %d" % len(body))) + b"\r\n" + body


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (whole(), 200),
        (CHUNKED + chunk(RAIN[:50]) + chunk(RAIN[50:]) + chunk(b""), 200),
        (whole(b"mainspring-cohort: \xff\xfe", b"x-request-id: \xc3\xbc", b"mainspring-arm: \xff"), 200),
        (whole(b"content-type: application/json; charset=utf-8"), 200),
        (whole(b"content-type: Application/JSON"), 200),
        (whole(b"content-type: application/jsonp"), 415),
        (whole(b"content-length: 7"), 400),
        (whole(body=b""), 400),
        (POST + b"\r\n", 400),
        (POST + b"content-length: 99999999999\r\n\r\n", 413),
        (CHUNKED + chunk(b" " * 2**20) * 9, 413),
        (POST.replace(b"rain", b"%ff") + b"\r\n", 404),
        (b"PUT /v2 HTTP/1.1\r\nhost: a\r\n\r\n", 405),
        (b"GET /v2/models/rain/infer HTTP/1.1\r\nhost: a\r\n\r\n", 405),
        (b"HEAD /v2 HTTP/1.1\r\nhost: a\r\n\r\n", 200),
    ],
)
def test_its_status(process, data, expected):
    assert status(process, data) == expected


def test_a_body_that_was_not_read_is_counted(process):
    name = 'mainspring_predictor_requests_total{protocol="v2",status="413"}'
    before = process.count(name)
    status(process, POST + b"content-length: 99999999999\r\n\r\n")
    assert process.count(name) == before + 1


def test_a_caller_who_never_ends_does_not_keep_it_from_ending(model, tmp_path):
    with socket.socket() as connection, running(model[0], tmp_path, timeout_seconds=0.5) as one:
        connection.connect(("127.0.0.1", one.config.port))
        connection.sendall(POST + b"content-length: 50\r\n\r\nabcde")
    assert "callers that were still sending were cut off" in (tmp_path / "output.log").read_text()
