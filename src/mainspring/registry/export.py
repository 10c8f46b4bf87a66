"""From a trained estimator to a model folder that is served without pickle, replayed against the original.

ONNX first; where the export fails or answers otherwise than the original, the estimator's own safe format (XGBoost UBJ,
LightGBM text, skops); a project that saves, loads and predicts by itself is carried as it is. What none of these can
carry is refused by name.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mainspring.domain.codec import to_json
from mainspring.domain.errors import TrainingError
from mainspring.domain.model_card import CARD_FILE, ModelCard
from mainspring.domain.model_version import ServedFormat
from mainspring.registry.onnx_export import write_onnx
from mainspring.registry.repeatable import make_repeatable

Replay = Callable[[Path, ModelCard, Sequence[Sequence[Any]]], Any]
"""Loads the folder's model as a predictor would and answers rows; [rows] or [rows, classes]."""

TOLERANCE = 1e-4
"""Largest difference between served and trained answers: of a probability, or of a value as a share of the answers'
standard deviation. Single precision keeps 1e-7 of one number; a sum of some hundred trees loses two digits of it."""

TRUSTED_PACKAGES = ("sklearn.", "numpy.", "scipy.", "xgboost.", "lightgbm.")


@dataclass(frozen=True)
class Trained:
    """A fitted estimator with what it is compared by: rows in the signature's order, and its own answers to them.

    It may be a bare booster or an ONNX model that came from elsewhere.
    """

    model: Any
    rows: Sequence[Sequence[Any]]
    answers: Any
    save: Callable[[Any, Path], None] | None = None
    project_files: Iterable[Path] = ()


@dataclass(frozen=True)
class Exported:
    """The card of what is served, and why better formats were not taken."""

    card: ModelCard
    passed_over: dict[str, str] = field(default_factory=dict)


def export(trained: Trained, card: ModelCard, folder: Path, replay: Replay) -> Exported:
    """Write the model folder; `card.format` is set to what is served. `folder` is emptied first.

    Errors: `TrainingError` names the estimator that nothing can carry, with each format's reason.
    """
    passed_over: dict[str, str] = {}
    for name, write in _formats(trained):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        attempt = replace(card, format=name)
        try:
            attempt = write(trained, attempt, folder)
            (folder / CARD_FILE).write_bytes(to_json(attempt, indent=2))
            difference = _difference(trained, replay(folder, attempt, trained.rows), card.task)
        except TrainingError as error:
            passed_over[name] = error.what
            continue
        except Exception as error:  # each exporter has errors of its own; all of them mean the next format
            passed_over[name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
            continue
        if difference > TOLERANCE:
            passed_over[name] = f"its answers differ by up to {difference:.2g}; {TOLERANCE:g} is allowed"
            continue
        done = replace(attempt, parity={attempt.output: difference})
        (folder / CARD_FILE).write_bytes(to_json(done, indent=2))
        return Exported(done, passed_over)
    shutil.rmtree(folder, ignore_errors=True)
    kind = type(trained.model)
    raise TrainingError(
        f"a {kind.__module__}.{kind.__qualname__} cannot be served without pickle: "
        + "; ".join(f"{name}: {reason}" for name, reason in passed_over.items()),
        where="training.py: train",
        valid="an estimator that ONNX, UBJ, LightGBM text or skops can carry",
        next_step="write save(model, folder), load(folder) and predict(model, X) in training.py",
    )


Writer = Callable[[Trained, ModelCard, Path], ModelCard]


def _formats(trained: Trained) -> list[tuple[ServedFormat, Writer]]:
    if trained.save is not None:
        return [("project", _project)]
    module = type(trained.model).__module__
    if module.startswith("onnx."):
        return [("onnx", _onnx_as_it_is)]
    # A bare booster, as another registry may hold one.
    if module.startswith("xgboost.core"):
        return [("xgboost_ubj", _xgboost)]
    if module.startswith("lightgbm.basic"):
        return [("lightgbm_text", _lightgbm)]
    native: list[tuple[ServedFormat, Writer]] = []
    if module.startswith("xgboost."):
        native = [("xgboost_ubj", _xgboost)]
    elif module.startswith("lightgbm."):
        native = [("lightgbm_text", _lightgbm)]
    return [("onnx", write_onnx_card), *native, ("skops", _skops)]


def write_onnx_card(trained: Trained, card: ModelCard, folder: Path) -> ModelCard:
    """`model.onnx`, one input for each feature, or a single matrix where the estimator takes only numbers."""
    write_onnx(trained.model, card.signature, folder / card.file)
    return card


def _onnx_as_it_is(trained: Trained, card: ModelCard, folder: Path) -> ModelCard:
    (folder / card.file).write_bytes(trained.model.SerializeToString())
    return card


def _xgboost(trained: Trained, card: ModelCard, folder: Path) -> ModelCard:
    if any(feature.type in ("str", "category") for feature in card.signature.features):
        raise TrainingError("a bare booster takes no text")
    if type(trained.model).__module__.startswith("xgboost.core"):
        booster = trained.model.copy()
        # Asked by itself it answers with all its trees, wherever its training stopped.
        booster.set_attr(best_iteration=None)
    else:
        booster = trained.model.get_booster()
    booster.save_model(str(folder / card.file))
    return card


def _lightgbm(trained: Trained, card: ModelCard, folder: Path) -> ModelCard:
    getattr(trained.model, "booster_", trained.model).save_model(str(folder / card.file))
    return card


def _skops(trained: Trained, card: ModelCard, folder: Path) -> ModelCard:
    from skops.io import dump, get_untrusted_types

    path = folder / card.file
    dump(trained.model, path)
    make_repeatable(path)
    types = get_untrusted_types(file=path)
    refused = sorted(name for name in types if not name.startswith(TRUSTED_PACKAGES))
    if refused:
        raise TrainingError(f"it holds {', '.join(refused)}, which is not of {', '.join(TRUSTED_PACKAGES)}")
    return replace(card, trusted_types=tuple(types))


def _project(trained: Trained, card: ModelCard, folder: Path) -> ModelCard:
    target = folder / card.file
    target.mkdir()
    for path in trained.project_files:
        shutil.copy2(path, target / path.name)
    assert trained.save is not None
    trained.save(trained.model, target)
    return card


def _difference(trained: Trained, served: Any, task: str) -> float:
    import numpy as np

    ours, theirs = np.asarray(trained.answers, np.float64), np.asarray(served, np.float64)
    if ours.shape != theirs.shape:
        raise TrainingError(f"it answers in shape {theirs.shape} where the original answers in {ours.shape}")
    if not ours.size:
        return 0.0
    largest = float(np.max(np.abs(ours - theirs)))
    if not np.isfinite(largest):
        return float("inf")
    return largest if task != "regression" else largest / max(float(np.std(ours)), 1e-12)
