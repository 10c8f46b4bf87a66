"""What `mlflow.pyfunc.load_model` loads a registered version by: the predictor's own runtime, no pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mainspring.adapters.mlflow.registry import answers_of
from mainspring.domain.model_card import ModelCard
from mainspring.serving.runtime import Runtime, load_card, load_runtime


class CardModel:
    """A model folder behind pyfunc's `predict`."""

    def __init__(self, card: ModelCard, runtime: Runtime) -> None:
        self._card = card
        self._runtime = runtime

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """A frame with the signature's columns: [rows], or of several classes [rows, classes]."""
        names = [feature.name for feature in self._card.signature.features]
        return answers_of(self._runtime.predict(model_input[names].to_numpy(object).tolist()))


def _load_pyfunc(path: str) -> CardModel:
    folder = Path(path)
    card = load_card(folder)
    return CardModel(card, load_runtime(folder, card))
