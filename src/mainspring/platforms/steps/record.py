"""What MLflow keeps of a run: written by each step as soon as it is known, and whole when a version is registered.

A step that Kubeflow took from its cache did not run for this run; its artifacts say what it found all the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mainspring.adapters.mlflow.registry import features_in_words
from mainspring.domain.codec import from_json
from mainspring.domain.dataset import Dataset
from mainspring.domain.metric import METRICS
from mainspring.domain.scoring import score
from mainspring.pipeline.gate import Evaluation
from mainspring.pipeline.insight import Importance, LearningCurve
from mainspring.platforms.git import head
from mainspring.platforms.steps.call import DATASET, FACTS, IMPORTANCE, Facts, StepCall

MEASURED, CURVE = "metrics.json", "learning_curve.json"
EVALUATION = "evaluation.json"
APPROVER = "policy:auto"
_PREFIX = "mainspring."


def trained(call: StepCall, run: str, metrics: Path) -> None:
    """Where the model came from, what it was trained with, how it did on its own rows, and what it looks at."""
    tracking, settings = call.tracking(), call.loaded.settings
    folder = call.inputs["training_set"]
    dataset = from_json(Dataset, (folder / DATASET).read_bytes())
    facts = from_json(Facts, (folder / FACTS).read_bytes())
    tree = head(call.loaded.paths.root)
    tags = {
        f"{_PREFIX}git_sha": tree.sha,
        f"{_PREFIX}git_dirty": str(tree.dirty).lower(),
        f"{_PREFIX}dataset_digest": dataset.digest,
        f"{_PREFIX}features": features_in_words(facts.features),
        f"{_PREFIX}known_at": call.known_at.isoformat(),
        f"{_PREFIX}validation": "; ".join(facts.warnings) or f"{facts.expectations} expectations held",
    }
    if tree.sha:
        tags["mlflow.source.git.commit"] = tree.sha
    if call.notes:
        tags[f"{_PREFIX}notes"] = "; ".join(call.notes)
    measured = from_json(dict[str, float | None], (metrics / MEASURED).read_bytes())
    numbers = {name: value for name, value in measured.items() if value is not None}
    looked_at = from_json(list[Importance], (metrics / IMPORTANCE).read_bytes())
    numbers |= {f"importance_{one.feature}": one.loss for one in looked_at}
    tracking.log(run, params={"seed": settings.seed, **settings.params}, metrics=numbers, tags=tags)
    tracking.log_dataset(run, dataset, settings.name)
    curve = from_json(LearningCurve, (metrics / CURVE).read_bytes())
    for part in ("train", "held_out"):
        points = [(point.at, getattr(point, part)) for point in curve.points]
        tracking.log_curve(run, f"learning_curve_{part}", points)
    for name in (IMPORTANCE, CURVE):
        tracking.keep(run, metrics / name)


def evaluated(call: StepCall, run: str, evaluation: Path, page: Path) -> Evaluation:
    """The gate's numbers, its verdict and the page; returns them."""
    found = from_json(Evaluation, (evaluation / EVALUATION).read_bytes())
    tracking = call.tracking()
    numbers = {f"gate_{name}": one.value for name, one in found.candidate.items()}
    numbers |= {f"champion_{name}": one.value for name, one in found.champion.items()}
    numbers |= {f"own_{name}": value for name, value in found.own.items()}
    if found.gain is not None:
        numbers["gate_gain"] = found.gain.value
    tracking.log(
        run,
        metrics=numbers,
        tags={
            f"{_PREFIX}verdict": "accepted" if found.passed else "refused",
            f"{_PREFIX}reason": found.reason,
            f"{_PREFIX}champion": found.champion_version,
            f"{_PREFIX}approver": APPROVER,
            "mlflow.note.content": f"{'accepted' if found.passed else 'refused'}: {found.reason}",
        },
    )
    tracking.keep(run, evaluation / EVALUATION)
    tracking.keep(run, page, "evaluation.html")
    return found


def refitted(call: StepCall, refit: str, truth: Any, answers: Any) -> None:
    """The refit that ships, in its own MLflow run: what it was trained on and how it does there."""
    settings, tracking = call.loaded.settings, call.tracking()
    names = [metric.name for metric in METRICS.values() if settings.task in metric.tasks]
    measured = {f"train_{name}": score(name, truth, answers) for name in names}
    measured["train_rows"] = float(len(truth))
    dataset = from_json(Dataset, (call.inputs["training_set"] / DATASET).read_bytes())
    tags = {f"{_PREFIX}dataset_digest": dataset.digest, "mlflow.note.content": "the refit on everything, which ships"}
    tracking.log(refit, params={"seed": settings.seed, **settings.params}, metrics=measured, tags=tags)
