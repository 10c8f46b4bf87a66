"""From rows to a fitted model, to a model folder, and back to answers: what `train` and `register` share."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.domain.model_card import ModelCard
from mainspring.domain.model_version import Signature
from mainspring.features.questions import EVENT_TIME, LABEL, LABEL_WEIGHT
from mainspring.pipeline.signature import frame, truth
from mainspring.pipeline.training import Part, Recipe, TrainingData, answers, training_data
from mainspring.platforms.laptop import feature_store
from mainspring.serving.on_demand import FOLDER as ON_DEMAND_FOLDER
from mainspring.settings.load import LoadedProject

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_PARITY_ROWS = 2000


def data_of(rows: pa.Table, validation: pa.Table, signature: Signature) -> TrainingData:
    """Labelled rows as `train` gets them; `validation` is what is set aside for early stopping."""
    part = Part(frame(validation, signature), truth(validation.column(LABEL), signature), _weights(validation))
    return training_data(frame(rows, signature), truth(rows.column(LABEL), signature), signature, part, _weights(rows))


def export_model(
    loaded: LoadedProject, recipe: Recipe, model: Any, rows: pa.Table, signature: Signature, folder: Path
) -> dict[str, str]:
    """Write the model folder, whole or not at all; the formats that were passed over, each with its reason.

    Errors: `TrainingError` names an estimator that nothing can carry.
    """
    from mainspring.registry.export import Trained, export

    sample = rows.slice(max(0, rows.num_rows - _PARITY_ROWS))
    card = ModelCard(loaded.settings.name, loaded.settings.task, "onnx", signature, trained_until=newest(rows))
    trained = Trained(
        model,
        plain(sample, signature),
        answers(model, frame(sample, signature), signature, recipe),
        save=recipe.function("save") if recipe.carries_itself else None,
        project_files=sorted(loaded.paths.root.glob("*.py")),
    )
    staged = folder.with_name(f"{folder.name}.part")
    staged.parent.mkdir(parents=True, exist_ok=True)
    done = export(trained, card, staged, replay)
    store = feature_store(loaded) if signature.on_demand else None
    if store is not None:
        store.keep_on_demand(staged / ON_DEMAND_FOLDER)
    shutil.rmtree(folder, ignore_errors=True)
    staged.replace(folder)
    return done.passed_over


def replay(folder: Path, card: ModelCard, rows: Any) -> Any:
    """A model folder's answers, as a predictor gives them: [rows], or of several classes [rows, classes]."""
    from mainspring.adapters.mlflow.registry import answers_of
    from mainspring.serving.runtime import load_runtime

    return answers_of(load_runtime(folder, card).predict(rows))


class ServedModel:
    """A model folder behind an estimator's own methods, for the project's `evaluate`; it answers as a predictor does."""

    def __init__(self, folder: Path, card: ModelCard) -> None:
        self._folder = folder
        self._card = card

    def predict_proba(self, X: pd.DataFrame) -> Any:
        """[rows, classes]."""
        import numpy as np

        chances = replay(self._folder, self._card, X.to_numpy(object).tolist())
        return np.column_stack([1 - chances, chances]) if chances.ndim == 1 else chances

    def predict(self, X: pd.DataFrame) -> Any:
        """Values, or the position of the likeliest class."""
        if self._card.task == "regression":
            return replay(self._folder, self._card, X.to_numpy(object).tolist())
        return self.predict_proba(X).argmax(axis=1)


def to_evaluate(folder: Path, card: ModelCard, recipe: Recipe) -> Any:
    """What the project's `evaluate` gets: what its own `load` gives where it has one, else the model as it is served."""
    load = recipe.function("load") if card.format == "project" else None
    return load(folder / card.file) if load is not None else ServedModel(folder, card)


def plain(rows: pa.Table, signature: Signature) -> Any:
    """Rows as a runtime takes them: lists in the signature's order."""
    return frame(rows, signature).to_numpy(object).tolist()


def newest(rows: pa.Table) -> datetime | None:
    """The newest event time, None without times."""
    import pyarrow.compute as pc

    found: datetime | None = pc.max(rows.column(EVENT_TIME)).as_py() if EVENT_TIME in rows.column_names else None
    return found


def share_of(data: TrainingData, share: float) -> TrainingData:
    """An evenly spread share of the training rows; the validation part stays whole."""
    import numpy as np

    places = np.linspace(0, len(data.y) - 1, max(2, round(share * len(data.y)))).astype(int)
    X = data.X.iloc[places].reset_index(drop=True)
    return replace(data, X=X, y=data.y[places], weights=data.weights[places])


def _weights(rows: pa.Table) -> Any:
    return rows.column(LABEL_WEIGHT).to_numpy() if LABEL_WEIGHT in rows.column_names else None
