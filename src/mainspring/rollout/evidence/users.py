"""Errors and latency where a user keeps his arm: the user is what is assigned, and so what is counted.

Of each user in a round two things are counted: whether his *first* request failed (or was slow), and whether he ever *met* an
error in it. A user is one observation that grows, from no error met to one, and never back.

**Ratio.** H0: at every moment the chance that a user meets his first error then is in the candidate's arm at most `r0` times
what it is in stable's. Users are assigned one by one, so that, whoever is the next to meet one and whatever was before, the
candidate is his arm with a chance of at most `p0 = w r0/(w r0 + 1 - w)`: the e-process of `errors` on users in place of requests.

**Margin.** H0: the candidate adds at most `d` to the chance that a user meets one. A user who comes is staked `1 - L d`; when he meets
one, that becomes `1 + L (1/w - d)` or `1 - L (1/(1-w) + d)`. Users are independent, so what they have grown to at any moment is an
e-value again.

**Rounds.** In the round of a *step* everybody counts once for the weight: it finds small harm. In those of an *hour* everybody counts
anew: a candidate that breaks later, when all users are known, is found by them. Rounds share users, so nothing is multiplied:
each has a share of alpha of its own (half for either kind, `1/(j (j+1))` of it for the j-th round, half of that for either count),
and the chance of any false rollback is at most their sum, however much they depend on each other.

How many requests each makes is never needed: one client with a million requests that always fail is one user.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mainspring.domain.rollout import Arm, ArmCounts, UserRound
from mainspring.rollout.evidence.errors import ErrorLimits, ErrorProcess, margin_log_es
from mainspring.rollout.evidence.mixture import log_beta_binomial
from mainspring.rollout.evidence.ratio import ratio_log_e
from mainspring.rollout.evidence.sample_ratio import CONCENTRATION
from mainspring.rollout.evidence.verdict import Evidence, odds

Failed = Callable[[ArmCounts], int]
_ARMS: tuple[Arm, ...] = ("stable", "candidate")


@dataclass(frozen=True, slots=True)
class _Count:
    """One count of one round, and the logarithm of its share of alpha."""

    stable: int
    failed_stable: int
    candidate: int
    failed_candidate: int
    weight: float
    log_share: float
    told: str
    kind: str

    def __str__(self) -> str:
        return (
            f"users of the candidate {self.told} {_part(self.failed_candidate, self.candidate)}, "
            f"of stable {_part(self.failed_stable, self.stable)}"
        )


def judge_users(
    rounds: Sequence[UserRound],
    limits: ErrorLimits,
    alpha: float,
    *,
    before: ErrorProcess | None = None,
) -> Evidence:
    """REJECT when users of the candidate meet more errors than the limits allow, at error rate `alpha`.

    `before` is what a shadow's copies said; where there were any, half of alpha is theirs.

    >>> one, other = ArmCounts(900, 9), ArmCounts(100, 20)
    >>> found = UserRound(10, "step", {"stable": one, "candidate": other}, {"stable": 30, "candidate": 40})
    >>> print(judge_users([found], ErrorLimits(), 0.05).reason)
    users of the candidate who met an error 40 in 100 (40.0%), of stable 30 in 900 (3.3%): over a million to 1 for more than 1.5 \
times stable's share and 0.50% of users beyond it
    """
    counts = [*_firsts(rounds, lambda arm: arm.upstream_errors, "whose first request failed", 0.5), *_met(rounds)]
    return _judged(counts, limits, alpha, before)


def judge_slow_users(rounds: Sequence[UserRound], limits: ErrorLimits, alpha: float, tau_seconds: float) -> Evidence:
    """The same for users whose first request in a round took longer than tau. Of later ones nothing is counted: who asks often
    meets a slow one in either arm."""

    def slow(arm: ArmCounts) -> int:
        return arm.slower_than(tau_seconds) if arm.latency_counts else 0

    told = f"whose first request took longer than {tau_seconds:g} s"
    return _judged(list(_firsts(rounds, slow, told, 1.0)), limits, alpha, None)


def judge_users_split(rounds: Sequence[UserRound], alpha: float = 0.001) -> Evidence:
    """REJECT when users are not split as asked. Each counts once for a weight: who comes back is chosen by what he met.

    >>> found = UserRound(10, "step", {"stable": ArmCounts(9500), "candidate": ArmCounts(500)}, {})
    >>> judge_users_split([found]).outcome
    'REJECT'
    """
    needed = {"split": -math.log(alpha)}
    worst = Evidence("INCONCLUSIVE", "no user was assigned: no evidence")
    highest = -math.inf
    for place, one in enumerate(_of(rounds, "step"), 1):
        weight = one.weight_percent / 100
        ours, all_users = one.users("candidate"), one.users("candidate") + one.users("stable")
        a, b = CONCENTRATION * weight, CONCENTRATION * (1 - weight)
        log_e = float(log_beta_binomial(ours, all_users, a, b, weight)) + _log_share(place)
        if log_e > highest and all_users:
            highest = log_e
            off = log_e >= needed["split"]
            told = f"{ours} of {all_users} users were assigned to the candidate ({ours / all_users:.2%})"
            asked = f"{'not' if off else 'as far as one can tell'} the {weight:.2%} asked for"
            worst = Evidence("REJECT" if off else "INCONCLUSIVE", f"{told}, {asked}", {"split": log_e}, needed)
    return worst


def users_in_words(rounds: Sequence[UserRound]) -> str:
    """What was counted at the last weight, in a few words."""
    step = [*_of(rounds, "step")][-1:]
    if not step:
        return "no user was assigned"
    failed, users = step[0].failed, step[0].users
    return (
        f"{failed.get('candidate', 0)} of {users('candidate')} users of the candidate met an error, "
        f"{failed.get('stable', 0)} of {users('stable')} of stable"
    )


def _judged(counts: list[_Count], limits: ErrorLimits, alpha: float, before: ErrorProcess | None) -> Evidence:
    threshold = -math.log(alpha)
    needed = {"ratio": threshold, "margin": threshold}
    halved = before is not None and before.requests_candidate > 0
    spent = math.log(2) if halved else 0.0
    found = [(ratio - spent, margin - spent, str(one)) for one, ratio, margin in _log_es(counts, limits)]
    if halved and before is not None:
        told = (
            f"copies that the candidate failed {_part(before.errors_candidate, before.requests_candidate)}, "
            f"originals that stable failed {_part(before.errors_stable, before.requests_stable)}"
        )
        found.append((before.log_e_ratio - spent, before.log_e_margin - spent, told))
    if not found:
        return Evidence("INCONCLUSIVE", "no user was assigned to the candidate: no evidence", {}, needed, unit="users")
    ratio, margin, told = max(found, key=lambda one: min(one[:2]))
    values = {"ratio": ratio, "margin": margin}
    allowed = f"{limits.ratio:g} times stable's share and {limits.margin:.2%} of users beyond it"
    if min(ratio, margin) >= threshold:
        return Evidence("REJECT", f"{told}: {odds(min(ratio, margin))} for more than {allowed}", values, needed)
    steps = [str(one) for one in counts if one.kind == "step"]
    return Evidence("INCONCLUSIVE", f"{(steps or [told])[-1]}: not shown to be more than {allowed}", values, needed)


def _log_es(counts: list[_Count], limits: ErrorLimits) -> Iterator[tuple[_Count, float, float]]:
    """Of each count with users of the candidate: its log e-values by ratio and by margin, less what its share costs."""
    counts = [one for one in counts if one.candidate]
    if not counts:
        return
    columns = ("stable", "failed_stable", "candidate", "failed_candidate", "weight", "log_share")
    n_s, k_s, n_c, k_c, w, share = (np.array([getattr(one, name) for one in counts], float) for name in columns)
    ratio = ratio_log_e(k_c, k_s + k_c, w, limits.ratio) + share
    stakes = margin_log_es(n_s + n_c, k_s, k_c, w, limits.margin)
    margin = np.logaddexp.reduce(stakes, axis=-1) - math.log(stakes.shape[-1]) + share
    yield from zip(counts, ratio.tolist(), margin.tolist(), strict=True)


def _firsts(rounds: Sequence[UserRound], failed: Failed, told: str, part: float) -> Iterator[_Count]:
    for one, log_share in _shared(rounds):
        stable, candidate = (one.first.get(arm, ArmCounts()) for arm in _ARMS)
        each = (stable.requests, failed(stable), candidate.requests, failed(candidate))
        yield _Count(*each, one.weight_percent / 100, log_share + math.log(part), told, one.kind)


def _met(rounds: Sequence[UserRound]) -> Iterator[_Count]:
    for one, log_share in _shared(rounds):
        (stable, failed_stable), (candidate, failed) = ((one.users(arm), one.failed.get(arm, 0)) for arm in _ARMS)
        share = log_share - math.log(2)
        yield _Count(
            stable, failed_stable, candidate, failed, one.weight_percent / 100, share, "who met an error", one.kind
        )


def _shared(rounds: Sequence[UserRound]) -> Iterator[tuple[UserRound, float]]:
    for kind in ("step", "hour"):
        for place, one in enumerate(_of(rounds, kind), 1):
            yield one, _log_share(place) - math.log(2)


def _of(rounds: Sequence[UserRound], kind: str) -> Iterator[UserRound]:
    return (one for one in rounds if one.kind == kind)


def _log_share(place: int) -> float:
    return -math.log(place * (place + 1))


def _part(failed: int, users: int) -> str:
    return f"{failed} in {users}" + (f" ({failed / users:.1%})" if users else "")
