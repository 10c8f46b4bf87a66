"""Receivers of alerts: a real HTTP server and a real SMTP server, each of which answers as it is told."""

import contextlib
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiosmtpd.smtp import AuthResult

from mainspring.domain.decision import Alert

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def alert(name="alarm:1", severity="warning", **more):
    return Alert(name, "temp drifted", AT, severity, "mainspring drift", "retrain", **more)


def until(said, seconds=10.0):
    """Wait until `said()` is true."""
    end = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.01)


class Receiver:
    """An HTTP server. `answers` are taken one by one, the last for ever: a status, (status, headers), or a function."""

    def __init__(self):
        self.answers, self.got, self.ending = [200], [], threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                names = {name.lower(): value for name, value in self.headers.items()}
                receiver.got.append((time.monotonic(), self.path, names, body))
                answer = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
                if callable(answer):
                    answer = answer()
                status, headers = answer if isinstance(answer, tuple) else (answer, {})
                said = b"ok" if status == 200 else b"<b>no service</b>"
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    for name, value in {**headers, "content-length": str(len(said))}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(said)

            def log_message(self, *words):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook/very-secret"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def hang(self):
        self.ending.wait(20)
        return 200

    def close(self):
        self.ending.set()
        self.server.shutdown()
        self.server.server_close()

    @property
    def keys(self):
        return [names["idempotency-key"] for _, _, names, _ in self.got]

    @property
    def texts(self):
        return [body.decode() for _, _, _, body in self.got]


class Mailbox:
    """What an SMTP server got; it refuses the addresses in `refused`."""

    def __init__(self):
        self.messages, self.refused = [], ()

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address in self.refused:
            return "550 no such person"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.messages.append(envelope.content.decode())
        return "250 OK"


def allowed(server, session, envelope, mechanism, data):
    return AuthResult(success=(data.login, data.password) == (b"churn", b"right-password"))
