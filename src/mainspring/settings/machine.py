"""What this machine is told: numerical libraries to share its cores, the kernel not to let a process outlive its parent."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
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
