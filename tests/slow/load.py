"""`python -m tests.slow.load HOST PORT`: eight callers ask until standard input ends, then say what they saw, as JSON.

`answered` has how often each version answered for each assigned arm, such as `{"candidate 1": 3}`; `failed` everything
that was not an answer of status 200; `ms` how long callers waited.
"""

import asyncio
import json
import statistics
import sys
from collections import Counter

CALLERS = 8


async def call(host, port, caller, stopping, seen, seconds):
    """One caller, who keeps his connection and opens another when it breaks."""
    loop, place, streams = asyncio.get_running_loop(), 0, None
    while not stopping.is_set():
        place += 1
        began = loop.time()
        try:
            streams = streams or await asyncio.open_connection(host, port)
            said = await ask(*streams, f"{caller}-{place}", host)
        except (OSError, asyncio.IncompleteReadError) as error:
            said, streams = f"failed {error!r}", None
        seen[said] += 1
        seconds.append(loop.time() - began)
        await asyncio.sleep(0.002)


async def ask(reader, writer, name, host):
    """One request on an open connection."""
    writer.write(
        f"POST /v2/models/rain/infer HTTP/1.1\r\nhost: {host}\r\nx-request-id: {name}\r\ncontent-length: 2\r\n\r\n{{}}".encode()
    )
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.split("content-length: ")[1].split("\r\n")[0])
    body = (await reader.readexactly(length)).decode()
    return body if " 200 " in head.split("\r\n")[0] else f"failed {head.splitlines()[0]}"


async def main(host, port):
    """Ask until told to stop."""
    stopping, seen, seconds = asyncio.Event(), Counter(), []
    callers = [asyncio.create_task(call(host, port, name, stopping, seen, seconds)) for name in range(CALLERS)]
    await asyncio.to_thread(sys.stdin.read)
    stopping.set()
    await asyncio.gather(*callers)
    failed = {said: count for said, count in seen.items() if said.startswith("failed")}
    answered = {said: count for said, count in seen.items() if said not in failed}
    waited = statistics.quantiles(seconds, n=100)
    milliseconds = {"p50": waited[49] * 1000, "p99": waited[98] * 1000, "most": max(seconds) * 1000}
    print(json.dumps({"requests": seen.total(), "failed": failed, "answered": answered, "ms": milliseconds}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
