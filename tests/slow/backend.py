"""`python -m tests.slow.backend NAME PORT`: a small predictor that says its name and the arm it was asked as.

SIGUSR1 makes it answer with 503, SIGUSR2 with 200 again.
"""

import asyncio
import signal
import sys


class Backend(asyncio.Protocol):
    """HTTP/1.1 with keep-alive; requests have small bodies and come one at a time."""

    status = b"200 OK"
    name = b""

    def connection_made(self, transport):
        self.transport, self.data = transport, b""

    def data_received(self, data):
        self.data += data
        head, ends, body = self.data.partition(b"\r\n\r\n")
        if not ends:
            return
        headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if len(body) < int(headers.get(b"content-length", 0)):
            return
        self.data = b""
        said = headers.get(b"mainspring-arm", b"none") + b" " + self.name
        answer = b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n%s" % (Backend.status, len(said), said)
        self.transport.write(answer)


async def main(name, port):
    """Serve until it is ended."""
    Backend.name = name.encode()
    loop = asyncio.get_running_loop()
    for number, status in ((signal.SIGUSR1, b"503 Service Unavailable"), (signal.SIGUSR2, b"200 OK")):
        loop.add_signal_handler(number, setattr, Backend, "status", status)
    server = await loop.create_server(Backend, "127.0.0.1", port, backlog=1000)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
