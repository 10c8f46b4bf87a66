"""Whether the candidate is slower: the test for errors on "slower than tau", and a band around all quantiles beside it.

`tau` is an edge of the latency histogram that the proxy keeps, fixed from stable's past before the rollout begins: it may
not be chosen from what the candidate did. Only the test decides; the band is reported.

A candidate takes traffic after warm-up requests, or cold caches look like a regression.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mainspring.rollout.evidence.errors import ErrorBatch, ErrorProcess, judge_errors
from mainspring.rollout.evidence.verdict import Evidence


@dataclass(frozen=True, slots=True)
class LatencyHistogram:
    """Requests of one arm by latency: `counts[i]` in `(edges[i-1], edges[i]]` seconds, the last beyond every edge.

    >>> LatencyHistogram((0.01, 0.1), (90, 8, 2)).slower_than(0.01)
    10
    """

    edges_seconds: tuple[float, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        edges = self.edges_seconds
        if len(self.counts) != len(edges) + 1 or list(edges) != sorted(set(edges)):
            raise ValueError("a histogram has ascending edges and one count more than edges")

    @property
    def requests(self) -> int:
        """Requests in all buckets."""
        return sum(self.counts)

    def slower_than(self, tau_seconds: float) -> int:
        """Requests beyond an edge; a ValueError when `tau_seconds` is none: between edges nothing is known."""
        if tau_seconds not in self.edges_seconds:
            raise ValueError(f"{tau_seconds} s is no edge of the histogram: {list(self.edges_seconds)}")
        return sum(self.counts[self.edges_seconds.index(tau_seconds) + 1 :])


@dataclass(frozen=True, slots=True)
class QuantileBand:
    """The largest gap between the arms' distributions, and the gap that chance allows at any time.

    `gap` is a share of requests: so many more of the candidate's than of stable's took longer than `at_seconds`.
    """

    gap: float
    allowed: float
    at_seconds: float

    @property
    def flagged(self) -> bool:
        """Whether the candidate is slower at some quantile."""
        return self.gap > self.allowed

    def __str__(self) -> str:
        more = f"{self.gap:.1%} of requests more than stable's are slower than {self.at_seconds:g} s"
        return f"{more}; chance allows {self.allowed:.1%}"


def slow_edge(past: LatencyHistogram, *, share: float = 0.05) -> float:
    """`tau` in seconds: the first edge that at most `share` of stable's past requests were slower than.

    A ValueError says that there was no past, or that the last edge is too low for the share.

    >>> slow_edge(LatencyHistogram((0.01, 0.1, 1.0), (900, 80, 19, 1)))
    0.1
    """
    if not past.requests:
        raise ValueError("stable has no past requests to fix a latency from")
    for edge in past.edges_seconds:
        if past.slower_than(edge) <= share * past.requests:
            return edge
    raise ValueError(f"more than {share:.0%} of stable's requests are slower than the last edge of the histogram")


def slow_batch(stable: LatencyHistogram, candidate: LatencyHistogram, tau_seconds: float, weight: float) -> ErrorBatch:
    """What `ErrorProcess.after` takes, with "slower than tau" for a failure. A request without an answer is beyond every edge."""
    slow_stable, slow_candidate = stable.slower_than(tau_seconds), candidate.slower_than(tau_seconds)
    return ErrorBatch(stable.requests, slow_stable, candidate.requests, slow_candidate, weight)


def judge_latency(process: ErrorProcess, alpha: float, tau_seconds: float) -> Evidence:
    """REJECT when more of the candidate's requests are slower than tau than the process's limits allow.

    >>> from mainspring.rollout.evidence.errors import ErrorLimits
    >>> edges = (0.01, 0.1)
    >>> batch = slow_batch(LatencyHistogram(edges, (800, 90, 10)), LatencyHistogram(edges, (20, 50, 30)), 0.1, 0.1)
    >>> process = ErrorProcess(ErrorLimits(ratio=2.0, margin=0.02)).after(batch)
    >>> judge_latency(process, 0.05, 0.1).outcome
    'REJECT'
    """
    return judge_errors(process, alpha, what=f"requests slower than {tau_seconds:g} s")


def quantile_band(stable: LatencyHistogram, candidate: LatencyHistogram, alpha: float) -> QuantileBand:
    """The gap between the arms at the edges, and what chance allows at all quantiles and all times at error rate `alpha`.

    Source: Howard, Ramdas, Sequential estimation of quantiles, arXiv 1906.09712; alpha/2 for each arm.

    >>> edges = (0.01, 0.1)
    >>> band = quantile_band(LatencyHistogram(edges, (8000, 900, 100)), LatencyHistogram(edges, (200, 500, 300)), 0.05)
    >>> band.flagged, str(band)
    (True, "68.9% of requests more than stable's are slower than 0.01 s; chance allows 11.9%")
    """
    if stable.edges_seconds != candidate.edges_seconds:
        raise ValueError("both arms need the same edges")
    if not stable.requests or not candidate.requests:
        return QuantileBand(0.0, 1.0, stable.edges_seconds[0])
    gaps = _cumulative(stable.counts) - _cumulative(candidate.counts)
    widest = int(np.argmax(gaps))
    allowed = band_width(stable.requests, alpha / 2) + band_width(candidate.requests, alpha / 2)
    return QuantileBand(float(gaps[widest]), min(allowed, 1.0), stable.edges_seconds[widest])


def band_width(requests: int, alpha: float) -> float:
    """Half the width of one distribution's band after so many requests, as a share.

    >>> round(band_width(1000, 0.025), 4)
    0.0889
    """
    return 0.85 * math.sqrt((math.log(math.log(math.e * requests)) + 0.8 * math.log(1612 / alpha)) / requests)


def _cumulative(counts: Sequence[int]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.cumsum(counts)[:-1] / sum(counts)
