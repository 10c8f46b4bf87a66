"""The loop: one function, `reconcile`, compares what is with what the project asks for and takes the next step.

Belongs here: the order of things and the phase table. What a step decides by lives in the stages; what it does to the
outside world goes through ports. Nothing is remembered between ticks but what the ledger, the registry, the runner, the
servers and the router can tell, so that a process killed between any two lines is continued by the next tick.
"""

from mainspring.loop.platform import Platform
from mainspring.loop.reconcile import Tick, reconcile

__all__ = ["Platform", "Tick", "reconcile"]
