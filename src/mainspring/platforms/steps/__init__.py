"""The six steps on real parts: what each reads, computes and writes. A step sees paths, never another step's objects.

dataset: `rows.parquet`, `dataset.json`. report: `results.json`; validation: its page. training_set: `rows.parquet` with
each row's part, `dataset.json`, `signature.json`, `facts.json`. model: the model folder. metrics: `metrics.json`,
`importance.json`, `learning_curve.json`. evaluation: `evaluation.json`, `held_out.parquet`; page: the same for people.
version: `version.json`, the model folder that ships.
"""

from __future__ import annotations

from collections.abc import Callable

from mainspring.platforms.steps.call import StepCall
from mainspring.platforms.steps.evaluation import evaluate
from mainspring.platforms.steps.fitting import plain, replay
from mainspring.platforms.steps.preparation import engineer, ingest, validate
from mainspring.platforms.steps.registration import refuse, register
from mainspring.platforms.steps.training import train

__all__ = ["STEPS", "StepCall", "plain", "replay"]

STEPS: dict[str, Callable[[StepCall], dict[str, float]]] = {
    "ingest": ingest,
    "validate": validate,
    "engineer": engineer,
    "train": train,
    "evaluate": evaluate,
    "register": register,
    "refuse": refuse,
}
