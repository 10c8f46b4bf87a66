"""What this machine is told: numerical libraries to share its cores, the kernel not to let a process outlive its parent
and not to promise callers what nobody will keep."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import struct

_PR_SET_PDEATHSIG = 1
_SO_ATTACH_FILTER = 26
_NO_SYN = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
"""A program of the kernel's packet filter: load the byte of TCP's flags; if SYN is among them, pass nothing on; else all."""
_SAID = {
    # Trainer, predictors and proxy share the cores. Threads that spin while they wait for one another make a fit of two
    # seconds take twelve as soon as one core is busy.
    "OMP_WAIT_POLICY": "PASSIVE",
}


def prepare() -> None:
    """Say it, unless the user said otherwise; processes that are started from here hear it, too."""
    for name, value in _SAID.items():
        os.environ.setdefault(name, value)


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it ends, however busy either is; Linux alone can."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def accept_no_more(listening: socket.socket) -> None:
    """Have the kernel begin no more connections on a listening socket, and finish those that were begun; Linux alone can.

    Who is turned away so is heard again a second later, as if his packet had been lost. Without it, whoever connects
    between the last `accept` and the socket's close is told that he is connected, asks, and is reset.

    Source: Linux's `Documentation/networking/filter.rst`.
    """
    program = b"".join(struct.pack("HBBI", *one) for one in _NO_SYN)
    held = ctypes.create_string_buffer(program)
    with contextlib.suppress(OSError):
        listening.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(_NO_SYN), ctypes.addressof(held))
        )
