"""Every router there is, each with what counts its requests, in front of two backends."""

import time

import pytest
from tests.adapters.traffic.backends import SETTINGS, Backend

from mainspring.adapters.envoy.evidence import EnvoyEvidence
from mainspring.adapters.envoy.router import EnvoyRouter
from mainspring.settings.paths import ProjectPaths


class Routed:
    """A router, its evidence, and the backends of versions 1 (stable) and 2 (candidate)."""

    def __init__(self, router, evidence):
        self.router, self.evidence = router, evidence
        self.stable, self.candidate = Backend("1"), Backend("2")

    def apply(self, rollout, *, without=""):
        """Apply it with the endpoints of all backends, but for one."""
        backends = [one for one in (self.stable, self.candidate) if one.name != without]
        self.router.apply(rollout, [one.endpoint() for one in backends])

    def counts(self, rollout, requests):
        """The evidence once it has so many requests."""
        return self.settled(
            lambda: self.evidence.counts(rollout),
            lambda counts: sum(one.requests for one in counts.values()) >= requests,
        )

    def settled(self, ask, enough):
        """What `ask` says once it is enough: logs are written a moment later."""
        until = time.monotonic() + 8
        while time.monotonic() < until:
            found = ask()
            if enough(found):
                return found
            time.sleep(0.02)
        raise AssertionError(found)


def _envoy(folder):
    paths = ProjectPaths(folder)
    return EnvoyRouter(SETTINGS, paths), EnvoyEvidence(paths)


ROUTERS = {"envoy": _envoy}


@pytest.fixture(params=sorted(ROUTERS))
def routed(request, tmp_path):
    found = Routed(*ROUTERS[request.param](tmp_path))
    yield found
    found.router.close()
    found.stable.close()
    found.candidate.close()
