"""Ports of 127.0.0.1 for what this machine runs."""

from __future__ import annotations

import random
import socket

# Linux takes ports for outgoing connections from 32,768 on: one of those may be gone before it is listened on.
_FIRST, _LAST = 20_000, 32_000


def free_port() -> int:
    """A port that nobody listens on. Another process may take it before the caller does, but no connection will.

    >>> 20_000 <= free_port() <= 32_000
    True
    """
    for port in random.sample(range(_FIRST, _LAST + 1), 1_000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port from {_FIRST} to {_LAST}")
