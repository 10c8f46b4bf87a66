"""`Models`: fitted once and known by what they were fitted on, so that another policy retrains nothing that is known.

A model's key is a hash of the code, the parameters, the packages and the rows it is fitted on: two questions that come to the
same rows are one model. What is kept is what it answered to every later question, not the model: nothing else is asked of it.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from mainspring.domain.codec import from_json, to_json
from mainspring.domain.model_version import Signature, label_name
from mainspring.features.questions import LABEL
from mainspring.pipeline.device import placed
from mainspring.pipeline.signature import frame, truth
from mainspring.pipeline.training import answers, fit, load_recipe
from mainspring.platforms.backtest.history import FOLDER, History, moment
from mainspring.platforms.cache import training_environment
from mainspring.settings.load import LoadedProject


@dataclass(frozen=True)
class Fitted:
    """A model of the past: its answers to the rows from place `first` on, and what it took.

    `trained_until` is the newest event time it was fitted on.
    """

    key: str
    first: int
    outputs: Any
    signature: Signature
    seconds: float
    rows: int
    trained_until: datetime

    def at(self, places: Any) -> Any:
        """Answers to the rows at these places, which are none that it was fitted on."""
        return self.outputs[places - self.first]


class Models:
    """Fits models on rows of the past, or finds them; `fitted` and `reused` count both."""

    def __init__(self, loaded: LoadedProject, history: History) -> None:
        self._loaded = loaded
        self._history = history
        self._folder = loaded.paths.state / FOLDER / "models"
        settings = loaded.settings
        given = [
            training_environment(loaded),
            history.digest,
            settings.params,
            settings.seed,
            settings.split.validation_share,
            # What the signature comes from.
            settings.task,
            settings.target.model_dump(mode="json"),
            settings.features.model_dump(mode="json"),
            [history.sources, history.entities],
        ]
        self._environment = json.dumps(given, sort_keys=True, default=str)
        self._found: dict[str, Fitted] = {}
        self._frames: dict[str, Any] = {}
        self.fitted = self.reused = 0

    def known(self, at: datetime, since: datetime | None = None) -> Any:
        """Places of the rows that had their label at an instant, asked no earlier than `since`."""
        import numpy as np

        here = (self._history.known <= moment(at)) & (self._history.asked <= moment(at))
        if since is not None:
            here &= self._history.asked >= moment(since)
        return np.flatnonzero(here)

    def on(self, places: Any, validation: Any = None) -> Fitted:
        """The model fitted on the rows at `places`; those of `validation` are for stopping early."""
        import numpy as np

        aside = np.array([], np.int64) if validation is None else validation
        key = hashlib.sha256(self._environment.encode() + places.tobytes() + b"|" + aside.tobytes()).hexdigest()[:32]
        if key not in self._found:
            file = self._folder / f"{key}.npz"
            if file.exists():
                self._found[key] = _read(key, file)
                self.reused += 1
            else:
                self._found[key] = self._fit(key, places, aside)
                _write(self._found[key], file)
                self.fitted += 1
        return self._found[key]

    def _fit(self, key: str, places: Any, aside: Any) -> Fitted:
        from mainspring.adapters.mlflow.recording import unrecorded
        from mainspring.platforms.challenger import signature_of
        from mainspring.platforms.steps.fitting import data_of, newest

        settings, history = self._loaded.settings, self._history
        rows, held = history.rows.take(places), history.rows.take(aside)
        signature = signature_of(settings, rows, history.sources, history.entities)
        used = rows if not len(aside) else history.rows.take(aside)
        until = newest(used)
        assert until is not None
        first = history.before(until)
        with unrecorded(self._loaded.paths.root):
            recipe = load_recipe(self._loaded.paths.root)
            params, _ = placed(settings.params, recipe.module)
            began = time.monotonic()
            model = fit(recipe, data_of(rows, held, signature), params, seed=settings.seed)
            seconds = time.monotonic() - began
            outputs = answers(model, self._frame(signature).iloc[first:], signature, recipe)
        outputs = self._widened(outputs, signature).astype("float32")
        return Fitted(key, first, outputs, signature, seconds, len(places) + len(aside), until)

    def _frame(self, signature: Signature) -> Any:
        """All rows as models with these columns take them."""
        kinds = str([(one.name, one.type) for one in signature.features])
        if kinds not in self._frames:
            self._frames[kinds] = frame(self._history.rows, signature)
        return self._frames[kinds]

    def _widened(self, outputs: Any, signature: Signature) -> Any:
        """Of several classes a column for each that there ever is: a model knows those of its own time."""
        import numpy as np

        if outputs.ndim == 1:
            return outputs
        found = np.zeros((len(outputs), len(self._history.classes)), np.float32)
        found[:, [self._history.classes.index(name) for name in signature.classes]] = outputs
        return found

    def answering(self, signature: Signature) -> Signature:
        """The signature with the classes that its answers have columns for: those that there ever are."""
        return replace(signature, classes=self._history.classes) if signature.task == "multiclass" else signature

    def labels(self, places: Any) -> Signature:
        """What a training on the rows at these places has to know: a signature of their labels alone."""
        task = self._loaded.settings.task
        there = self._history.rows.column(LABEL).take(places).unique().to_pylist() if task != "regression" else []
        return Signature(task, (), classes=tuple(label_name(one) for one in sorted(there)))

    def truth(self, places: Any, signature: Signature) -> Any:
        """Labels as scores take them."""
        classes = signature.classes if signature.task == "binary" else self._history.classes
        of_all = Signature(signature.task, (), classes=classes if signature.task != "regression" else ())
        return truth(self._history.rows.column(LABEL).take(places), of_all)


def _write(one: Fitted, file: Path) -> None:
    import numpy as np

    about = {"first": one.first, "seconds": one.seconds, "rows": one.rows, "until": one.trained_until.isoformat()}
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    with part.open("wb") as out:
        np.savez(out, outputs=one.outputs, about=json.dumps(about), signature=to_json(one.signature).decode())
    part.replace(file)


def _read(key: str, file: Path) -> Fitted:
    import numpy as np

    with np.load(file, allow_pickle=False) as kept:
        about = json.loads(str(kept["about"]))
        signature = from_json(Signature, str(kept["signature"]))
        until = datetime.fromisoformat(about["until"])
        return Fitted(key, about["first"], kept["outputs"], signature, about["seconds"], about["rows"], until)
