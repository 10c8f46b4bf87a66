"""How often rollouts end falsely, and how soon a broken candidate goes back, in simulated and real weather.

Peers: a z-test that is looked at every 500 requests, and Flagger's rule (a check each interval that wants 99 % of the
candidate's requests to succeed; five failed checks and it goes back), at 1,000 requests an interval; for quality, a t-test that is looked at
every week, and the betting product over single requests.

`python benchmarks/rollout_errors.py [--json] [--rollouts 1500]`
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import ndtri, stdtrit

from mainspring.rollout.evidence.blocks import paired_range, pooled
from mainspring.rollout.evidence.errors import ErrorBatch, ErrorLimits, ErrorProcess
from mainspring.rollout.evidence.quality import Test, accept_log_e, every_block_log_e
from report import Row, report
from rollout_users import business, sticky_rollbacks
from rollout_worlds import RATE, Counts, Numbers, counts, differences, error_rates, flights_losses

ALPHA, WEIGHT, LIMITS = 0.05, 0.1, ErrorLimits(ratio=1.5, margin=0.005)
BATCH, REQUESTS = 200, 20_000
ERROR_WORLDS = ("i.i.d.", "drifting", "autocorrelated", "flights")
BOUND = 0.1
"""The stated range of a day's difference in Brier score."""


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rollouts", type=int, default=1500)
    arguments = parser.parse_args()
    rng = np.random.default_rng(11)
    rows = [
        *false_rollbacks(rng, arguments.rollouts),
        *users(rng, arguments.rollouts),
        *ramps(rng, arguments.rollouts // 2),
        *waits(rng, arguments.rollouts // 5),
        *false_promotions(rng, arguments.rollouts),
        *flights_promotions(),
        *quality_waits(rng, arguments.rollouts // 5),
        *sticky_rollbacks(np.random.default_rng(12), arguments.rollouts // 10),
        *business(np.random.default_rng(13), arguments.rollouts // 5),
    ]
    report([replace(row, unit="") for row in rows], as_json=arguments.json)


def false_rollbacks(rng: Any, rollouts: int) -> list[Row]:
    """At the boundary: 1.5 times stable's error rate, which is half a point beyond it where that is 1 %."""
    rows = []
    for world in ERROR_WORLDS:
        rates = error_rates(rng, world, rollouts, REQUESTS // BATCH)
        drawn = counts(rng, rates, LIMITS.ratio * rates, BATCH, WEIGHT)
        ours = _share(ends(drawn))
        rows.append(Row(f"false rollbacks, {world} / stated", ours, ALPHA, 1.0, at_most=True))
        rows.append(Row(f"false rollbacks, {world} / z-test's", ours, _share(z_test(drawn)), 0.5, at_most=True))
    rates = error_rates(rng, "i.i.d.", rollouts, REQUESTS // BATCH)
    drawn = counts(rng, rates, rates, BATCH, WEIGHT)
    ours = _share(ends(drawn))
    rows.append(Row("rollbacks of an equal candidate / Flagger's", ours, _share(flagger(drawn)), 0.1, at_most=True))
    rows.append(
        Row("rollbacks of an equal candidate / z-test's", ours, _share(z_test(drawn, margin=0.0)), 0.1, at_most=True)
    )
    return rows


def users(rng: Any, rollouts: int) -> list[Row]:
    """Users who stay in their arm, one in 200 of whom makes 200 requests that always fail: counted once, and by request."""
    heavy, batches = 200, 20
    people = counts(rng, np.full((rollouts, batches), 1 / 200), np.full((rollouts, batches), 1 / 200), BATCH, WEIGHT)
    clumped = Counts(
        people.stable + (heavy - 1) * people.stable_errors,
        heavy * people.stable_errors,
        people.candidate + (heavy - 1) * people.candidate_errors,
        heavy * people.candidate_errors,
    )
    return [
        Row("false rollbacks, sticky users / stated", _share(ends(people)), ALPHA, 1.0, at_most=True),
        Row(
            "false rollbacks, sticky users / by request", _share(ends(people)), _share(ends(clumped)), 0.5, at_most=True
        ),
    ]


def ramps(rng: Any, rollouts: int) -> list[Row]:
    """Ten weights from 5 to 50 %, 2,000 requests each: at the boundary, and a candidate that fails three times as often."""
    weights = np.repeat(np.linspace(0.05, 0.5, 10), 2000 // BATCH)
    rates = error_rates(rng, "i.i.d.", rollouts, len(weights))
    boundary, worse = (counts(rng, rates, times * rates, BATCH, weights) for times in (LIMITS.ratio, 3.0))
    ours, found = _share(ends(boundary, weights=weights)), _share(ends(worse, weights=weights))
    return [
        Row("false rollbacks, ramp / stated", ours, ALPHA, 1.0, at_most=True),
        Row("false rollbacks, ramp / z-test's", ours, _share(z_test(boundary)), 0.5, at_most=True),
        Row("3% errors, ramp: never found / one in ten", 1 - found, 0.1, 1.0, at_most=True),
    ]


def waits(rng: Any, rollouts: int) -> list[Row]:
    """Requests until a broken candidate goes back: new, or old: it breaks after 100,000 healthy ones, which are not counted.

    What takes longer counts as 20,000.
    """
    rows = []
    for broken, healthy, most in ((0.2, 0, 400), (0.2, 100_000, 700), (0.05, 0, 2500), (0.05, 100_000, 7500)):
        step = 20 if broken == 0.2 else 100
        before = counts(rng, *[np.full((rollouts, healthy // 1000), RATE)] * 2, 1000, WEIGHT)
        shape = (rollouts, REQUESTS // step)
        after = counts(rng, np.full(shape, RATE), np.full(shape, broken), step, WEIGHT)
        ours = _median(ends(after, before))
        name = f"{broken:.0%} errors, {'old' if healthy else 'new'}: requests"
        rows.append(Row(f"{name} / goal", ours, most, 1.0, at_most=True))
        rows.append(Row(f"{name} / Flagger's", ours, _median(flagger(after)), 1.5, at_most=True))
        rows.append(Row(f"{name} / z-test's", ours, _median(z_test(after, before)), 2.0, at_most=True))
    return rows


def false_promotions(rng: Any, runs: int) -> list[Row]:
    """At the boundary, no better on average: 364 days, looked at each week; drifting ones at the end of each whole period."""
    rows = []
    for world, block, every in (("i.i.d.", 1, 7), ("drifting", 1, 28), ("autocorrelated", 7, 1)):
        d = differences(rng, world, runs, 364)
        seen = pooled(d, block)
        ours, symmetric = (_promoted(seen, test, every) for test in ("running_mean", "symmetric"))
        name = f"false promotions, {world}" + (", by week" if block == 7 else "")
        rows.append(Row(f"{name} / stated", ours, ALPHA, 1.0, at_most=True))
        rows.append(Row(f"{name}, symmetric / stated", symmetric, ALPHA, 1.0, at_most=True))
        theirs = float(t_test(seen)[:, every - 1 :: every].any(axis=1).mean())
        rows.append(Row(f"{name}, symmetric / t-test's", symmetric, theirs, 0.5, at_most=True))
        if block == 7:
            rows.append(Row(f"{name}, symmetric / by day", symmetric, _promoted(d, "symmetric", 7), 0.5, at_most=True))
    return rows


def flights_promotions() -> list[Row]:
    """Every window of 28 days of flights, with the mean over its days taken off: nobody is better on these days."""
    losses = flights_losses()
    first = losses.groupby("day").head(1).index.to_numpy()
    starts = np.append(first, len(losses))
    each = losses["d"].to_numpy()
    days = np.add.reduceat(each, first) / np.diff(starts)
    windows = np.lib.stride_tricks.sliding_window_view(days, 28)
    centred = windows - windows.mean(axis=1, keepdims=True)
    last = [accept_log_e(centred, 0.0, paired_range(BOUND), test)[:, -1] for test in ("running_mean", "symmetric")]
    ours, symmetric = (float(np.mean(one >= -math.log(ALPHA))) for one in last)
    by_request = []
    for start in range(0, len(days) - 28, 2):
        rows = each[starts[start] : starts[start + 28]]
        by_request.append(every_block_log_e(rows.mean() - rows, 1.0 - rows.mean()).max() >= -math.log(ALPHA))
    return [
        Row("false promotions, flights / stated", ours, ALPHA, 1.0, at_most=True),
        Row("false promotions, flights, symmetric / stated", symmetric, ALPHA, 1.0, at_most=True),
        Row("false promotions, flights / single requests", ours, float(np.mean(by_request)), 0.1, at_most=True),
    ]


def quality_waits(rng: Any, runs: int) -> list[Row]:
    """Days until a candidate that is one standard deviation of a day better is accepted."""
    d = 0.01 * (rng.standard_normal((runs, 1400)) - 1)
    found = {
        name: _median(_first(accept_log_e(d, 0.0, paired_range(bound), test)[:, 6::7] >= -math.log(ALPHA)) * 7)
        for name, bound, test in (
            ("1", 1.0, "running_mean"),
            ("0.1", 0.1, "running_mean"),
            ("symmetric", 1.0, "symmetric"),
        )
    }
    return [
        Row("days to accept, range 0.1 / range 1", found["0.1"], found["1"], 0.2, at_most=True),
        Row("days to accept, symmetric / range 0.1", found["symmetric"], found["0.1"], 0.5, at_most=True),
    ]


def ends(after: Counts, before: Counts | None = None, weights: Any = None) -> Numbers:
    """Requests after which each rollout goes back, from the first of `after`; infinite where it does not."""
    found = np.full(len(after.stable), np.inf)
    requests = np.cumsum(after.stable + after.candidate, axis=1)
    for rollout in range(len(found)):
        process = ErrorProcess(LIMITS)
        for batch in _batches(before, rollout) if before else ():
            process = process.after(batch)
        for step, batch in enumerate(_batches(after, rollout, weights)):
            process = process.after(batch)
            if process.log_e >= -math.log(ALPHA):
                found[rollout] = requests[rollout, step]
                break
    return found


def z_test(after: Counts, before: Counts | None = None, margin: float = LIMITS.margin) -> Numbers:
    """The same for a one-sided z-test of `q_c - q_s > margin`, looked at every 500 requests (or batch, if that is longer)."""
    batch = int(after.stable[0, 0] + after.candidate[0, 0])
    looked = after.joined(2) if batch == BATCH else after
    every = max(1, 500 // (batch * (2 if batch == BATCH else 1)))
    past = [one.sum(axis=1, keepdims=True) if before else 0.0 for one in vars(before or after).values()]
    n_s, k_s, n_c, k_c = (np.cumsum(one, axis=1) + old for one, old in zip(vars(looked).values(), past, strict=True))
    q_s, q_c = k_s / np.maximum(n_s, 1), k_c / np.maximum(n_c, 1)
    error = np.sqrt(q_s * (1 - q_s) / np.maximum(n_s, 1) + q_c * (1 - q_c) / np.maximum(n_c, 1))
    beyond = (q_c - q_s - margin > ndtri(1 - ALPHA) * error)[:, every - 1 :: every]
    requests = np.cumsum(looked.stable + looked.candidate, axis=1)[0, every - 1 :: every]
    return np.where(beyond.any(axis=1), requests[beyond.argmax(axis=1)], np.inf)


def flagger(after: Counts) -> Numbers:
    """The same for Flagger's rule at its documented values: minimum success rate 99 %, interval 1m, threshold 5."""
    batch = int(after.stable[0, 0] + after.candidate[0, 0])
    looked = after.joined(1000 // batch)
    failed = looked.candidate_errors > 0.01 * looked.candidate
    return _first(np.cumsum(failed, axis=1) >= 5) * 1000


def t_test(d: Numbers) -> Any:
    """Whether a one-sided t-test says that the mean so far is below 0 [runs, days]."""
    n = np.arange(1, d.shape[1] + 1)
    mean = np.cumsum(d, axis=1) / n
    variance = np.maximum(np.cumsum(d**2, axis=1) - n * mean**2, 0) / np.maximum(n - 1, 1)
    return mean < -stdtrit(np.maximum(n - 1, 1), 1 - ALPHA) * np.sqrt(variance / n)


def _batches(drawn: Counts, rollout: int, weights: Any = None) -> list[ErrorBatch]:
    columns = [one[rollout].astype(int).tolist() for one in vars(drawn).values()]
    of_batch = np.full(len(columns[0]), WEIGHT) if weights is None else weights
    return [ErrorBatch(*row) for row in zip(*columns, of_batch.tolist(), strict=True)]


def _first(decided: Any) -> Numbers:
    """The number of looks until the first that decides [runs]; infinite where none does."""
    return np.where(decided.any(axis=1), decided.argmax(axis=1) + 1.0, np.inf)


def _median(waited: Numbers) -> float:
    return float(min(np.median(waited), REQUESTS))


def _share(ended: Numbers) -> float:
    return float(np.isfinite(ended).mean())


def _promoted(d: Numbers, test: Test, every: int) -> float:
    """The share of runs [runs, blocks] that is ever accepted as better, looked at after each `every` blocks."""
    log_e = accept_log_e(np.clip(d, -BOUND, BOUND), 0.0, paired_range(BOUND), test)
    return float((log_e[:, every - 1 :: every] >= -math.log(ALPHA)).any(axis=1).mean())


if __name__ == "__main__":
    main()
