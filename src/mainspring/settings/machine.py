"""What numerical libraries are told before they are loaded: to share this machine's cores."""

from __future__ import annotations

import os

_SAID = {
    # Trainer, predictors and proxy share the cores. Threads that spin while they wait for one another make a fit of two
    # seconds take twelve as soon as one core is busy.
    "OMP_WAIT_POLICY": "PASSIVE",
}


def prepare() -> None:
    """Say it, unless the user said otherwise; processes that are started from here hear it, too."""
    for name, value in _SAID.items():
        os.environ.setdefault(name, value)
