"""The tests of a rollout over the proxy's counts: each request counted once, the same after a restart, quality either way round."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from mainspring.domain.rollout import LATENCY_EDGES_SECONDS, ArmCounts, EvidenceBatch, Rollout
from mainspring.domain.shadow_report import PairedBlock, ShadowReport
from mainspring.platforms.rollout_tests import LaptopRolloutTests
from mainspring.settings.project import ProjectSettings

AT = datetime(2026, 3, 1, tzinfo=UTC)
FAST = (0, 90, 10) + (0,) * (len(LATENCY_EDGES_SECONDS) - 2)


def settings(**rollout):
    return ProjectSettings.model_validate(
        {
            "name": "rain",
            "task": "binary",
            "sources": {"s": {"path": "s.csv"}},
            "target": {"source": "s", "column": "y"},
            "rollout": rollout,
        }
    )


def rollout(given, phase, **more):
    steps = given.rollout.strategy()
    return Rollout("1-to-2-1", "1", "2", phase=phase, steps=steps, phase_since=AT, **more)


class Proxy:
    """What an access log tells: batches, and a shadow's copies."""

    def __init__(self):
        self.found, self.copies, self.outside = [], ArmCounts(), ArmCounts()

    def add(self, stable, candidate, weight=10):
        self.found.append(EvidenceBatch(weight, {"stable": ArmCounts(*stable), "candidate": ArmCounts(*candidate)}))

    def counts(self, rollout_id):
        totals = {"stable": self.outside, "candidate": ArmCounts()}
        for batch in self.found:
            totals = {arm: one + batch.counts[arm] for arm, one in totals.items()}
        return totals

    def batches(self, rollout_id):
        return tuple(self.found)

    def shadows(self, rollout_id):
        return self.copies


class Pairs:
    """A shadow's report."""

    def __init__(self, blocks=(), base_rate=0.5):
        self._report = ShadowReport(100, 100, blocks=tuple(blocks), base_rate=base_rate)

    def compare(self, rollout, until):
        return self._report


def test_each_request_counts_once_and_a_restart_knows_the_same():
    given, proxy = settings(), Proxy()
    proxy.outside, proxy.copies = ArmCounts(300, 1), ArmCounts(300, 2)
    job = LaptopRolloutTests(given, proxy, None)
    assert job.look(rollout(given, "shadow", mirror_percent=100), AT).counted == (
        "2 errors in 300 requests of the candidate, 1 in 300 of stable"
    )
    canary = rollout(given, "canary", weight_percent=10, step=1)
    for place in range(5):
        proxy.add((90, 1), (10, 0))
        proxy.found[-1] = EvidenceBatch(10, {"stable": ArmCounts(45, 0), "candidate": ArmCounts(5, 0)})
        job.look(canary, AT)  # while the last batch still grows
        proxy.found[-1] = EvidenceBatch(10, {"stable": ArmCounts(90, 1), "candidate": ArmCounts(10, 0)})
        found = job.look(canary, AT)
        assert found.requests == 10 * (place + 1)
    assert found.counted == "2 errors in 350 requests of the candidate, 6 in 750 of stable"
    again = LaptopRolloutTests(given, proxy, None).look(canary, AT)
    assert (again.counted, again.requests) == (found.counted, found.requests)
    assert again.tests.log_e_values["errors.margin"] == pytest.approx(found.tests.log_e_values["errors.margin"])


def test_a_step_counts_its_own_requests():
    given, proxy = settings(steps=[10, 50]), Proxy()
    proxy.add((900,), (100,))
    second = rollout(given, "canary", weight_percent=50, step=1, evidence=proxy.counts(""))
    proxy.add((40,), (40,), weight=50)
    assert LaptopRolloutTests(given, proxy, None).look(second, AT).requests == 40


def test_a_slow_candidate_is_found_once_tau_is_fixed():
    given, proxy = settings(steps=[10]), Proxy()
    slow = (0,) * 20 + (100,) + (0,) * (len(LATENCY_EDGES_SECONDS) - 20)
    for _ in range(4):
        proxy.add((900, 0, 0, 0.0, FAST), (100, 0, 0, 0.0, slow))
    canary = rollout(given, "canary", weight_percent=10)
    assert "latency" not in str(LaptopRolloutTests(given, proxy, None).look(canary, AT).tests)
    found = LaptopRolloutTests(given, proxy, None).look(replace(canary, tau_seconds=0.001), AT)
    assert found.tests.outcome == "REJECT"
    assert "latency: requests slower than 0.001 s" in found.tests.reason


@pytest.mark.parametrize(("phase", "outcome"), [("shadow", "REJECT"), ("guard", "ACCEPT")])
def test_quality_is_the_new_versions_beside_the_old_ones(phase, outcome):
    """The primary is better on every day: a shadow goes back, and in the guard, where the new one is the primary, it stays."""
    given = settings(evidence="match")
    noise = np.random.default_rng(1).normal(0, 0.01, 84)
    days = [PairedBlock(f"d{n}", 0.75 + float(one), 0.70, 300) for n, one in enumerate(noise)]
    found = LaptopRolloutTests(given, Proxy(), Pairs(days)).look(
        rollout(given, phase, mirror_percent=100), AT + timedelta(days=84)
    )
    assert found.quality.outcome == outcome
    assert "on these 84 days the candidate's loss was" in found.quality.reason


def test_a_guard_undoes_nothing_by_a_test_that_does_not_run():
    days = [PairedBlock(f"d{n}", 0.70 + n % 7 / 1000, 0.75, 300) for n in range(84)]
    found = {}
    for share in (1, 0):
        given = settings(budget={"quality": share})
        guard = rollout(given, "guard", mirror_percent=100)
        found[share] = LaptopRolloutTests(given, Proxy(), Pairs(days)).look(guard, AT).quality
    assert found[1].outcome == "REJECT"
    assert found[0] is None


def test_a_champion_without_skill_cannot_be_matched_and_the_verdict_says_so():
    given = settings(evidence="match")
    days = [PairedBlock(f"d{n}", 0.5, 0.5, 300) for n in range(7)]
    found = LaptopRolloutTests(given, Proxy(), Pairs(days, 0.5)).look(rollout(given, "shadow", mirror_percent=100), AT)
    assert "is no better than the base rate's 0.5: it cannot be matched" in found.quality.reason
