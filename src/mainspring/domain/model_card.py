"""`ModelCard`: what a model folder says about itself, `card.json` beside the model's files."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from mainspring.domain.metric import Task
from mainspring.domain.model_version import ServedFormat, Signature

OutputKind = Literal["probability", "value"]

CARD_FILE = "card.json"
MODEL_FILES: dict[ServedFormat, str] = {
    "onnx": "model.onnx",
    "xgboost_ubj": "model.ubj",
    "lightgbm_text": "model.txt",
    "skops": "model.skops",
    "project": "project",
}
"""The file, or for `project` the folder, that holds the model, by format."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Everything a predictor needs beside the model's own file.

    `parity` holds the largest differences between the served form and the trained estimator, by output name.
    `trusted_types` are the type names a skops file may hold beside those that skops itself trusts. `trained_until` is
    the newest event time of the training rows. `extra` is for people, JSON values only.

    >>> card = ModelCard("flights", "binary", "onnx", Signature("binary", ()))
    >>> card.output, card.file
    ('probability', 'model.onnx')
    """

    name: str
    task: Task
    format: ServedFormat
    signature: Signature
    created_at: datetime | None = None
    trained_until: datetime | None = None
    parity: dict[str, float] = field(default_factory=dict)
    trusted_types: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def output(self) -> OutputKind:
        """What the model answers: class probabilities, or a value."""
        return "value" if self.task == "regression" else "probability"

    @property
    def file(self) -> str:
        """Name of the model's file or folder inside the model folder."""
        return MODEL_FILES[self.format]
