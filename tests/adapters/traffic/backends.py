"""Stand-ins for predictors and their callers: HTTP servers that say what they got, and can fail or hang."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.adapters.traffic.grpc_side import GrpcSide

from mainspring.domain.rollout import Endpoint
from mainspring.settings.project import ProjectSettings

RAW = {
    "name": "rain",
    "task": "binary",
    "sources": {"s": {"path": "s.csv"}},
    "target": {"source": "s", "column": "y"},
    "serving": {"port": 0, "timeout": "2s"},
}
SETTINGS = ProjectSettings.model_validate(RAW)


class _Handler(BaseHTTPRequestHandler):
    """Answers with its name and the headers it got, or with its server's status."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        got = {"name": self.server.name, **{name.lower(): value for name, value in self.headers.items()}}
        self.server.got.append(got)
        self.server.going.wait(30)
        body = json.dumps(got).encode()
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Backend(ThreadingHTTPServer):
    """One version: `status` is what it answers, `got` the headers of what it was asked, `going` cleared makes it hang.

    It says nothing of connections that a proxy dropped. With `wire` grpc it answers over that, too.
    """

    daemon_threads = True
    request_queue_size = 1_000

    def __init__(self, name, wire="rest"):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.name, self.status, self.got = name, 200, []
        self.going = threading.Event()
        self.going.set()
        self.grpc = GrpcSide(self) if wire == "grpc" else None
        self._dead = False
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass

    def endpoint(self):
        """Where it is."""
        port = self.grpc.port if self.grpc else 0
        return Endpoint(self.name, "127.0.0.1", self.server_address[1], True, grpc_port=port)

    def die(self):
        """Listen no longer."""
        self._dead = True
        self.shutdown()
        self.server_close()
        if self.grpc:
            self.grpc.close()

    def close(self):
        """End it."""
        self.going.set()
        if not self._dead:
            self.die()


def ask(router, name, body=b"{}", path="/v2/models/rain/infer", **headers):
    """Ask one question; the status, and what the predictor that answered said it got."""
    connection = HTTPConnection(router.address().removeprefix("http://"), timeout=10)
    try:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        connection.request("POST", path, body, {"x-request-id": name, **named})
        answer = connection.getresponse()
        said = answer.read()
        return answer.status, json.loads(said) if said.startswith(b"{") else {}
    finally:
        connection.close()


def many(router, count, prefix="q", **headers):
    """Ask so many, eight at a time; each has its own id."""
    return at_once(lambda name: ask(router, name, **headers), count, prefix)


def at_once(question, count, prefix):
    """What is answered to so many questions, eight of them at a time, each with its own id."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda place: question(f"{prefix}{place}"), range(count)))
