"""`ReplayedPipeline`: a pipeline run on the past, and the version that it registers in the world."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.domain.codec import to_json
from mainspring.domain.errors import ConfigError, MainspringError
from mainspring.domain.model_card import CARD_FILE, ModelCard
from mainspring.domain.model_version import ModelVersion
from mainspring.domain.run import Run
from mainspring.drift.storage import FILE, profile_bytes
from mainspring.features.questions import EVENT_TIME, LABEL
from mainspring.performance.whole_days import by_block
from mainspring.pipeline import split as parts
from mainspring.pipeline.gate import Beside, HeldOut, judge
from mainspring.pipeline.split import HOLDOUT, TRAIN, VALIDATION
from mainspring.platforms.backtest.history import FOLDER, moment
from mainspring.platforms.backtest.models import Fitted
from mainspring.platforms.drift_reference import reference_profile
from mainspring.platforms.whole_file import write_whole

if TYPE_CHECKING:
    from mainspring.platforms.backtest.world import World


@dataclass(frozen=True)
class ReplayedVersion:
    """A version with what ships and what was evaluated, the metric on each held-out day, and the folder of its drift reference."""

    version: ModelVersion
    shipped: Fitted
    evaluated: Fitted
    held_out: tuple[float, ...]
    profile: Path


class ReplayedPipeline:
    """`PipelineRunner`: divides, fits, judges and refits as the steps do, at once, and registers in the world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._runs: dict[str, Run] = {}

    def start(self, run_id: str, trigger: str, parameters: Mapping[str, str]) -> None:
        try:
            self._runs[run_id] = self._run(run_id, trigger, parameters)
        except MainspringError as error:
            self._runs[run_id] = Run(run_id, trigger, "failed", reason=error.what)

    def status(self, run_id: str) -> Run | None:
        return self._runs.get(run_id)

    def wait(self, run_id: str, timeout_seconds: float) -> Run:
        return self._runs[run_id]

    def interrupt(self, run_id: str) -> None:
        """Nothing goes on between two ticks."""

    def cancel(self, run_id: str) -> None:
        """Nothing goes on between two ticks."""

    def _run(self, run_id: str, trigger: str, parameters: Mapping[str, str]) -> Run:
        import numpy as np

        world, settings = self._world, self._world.loaded.settings
        known_at = datetime.fromisoformat(parameters["known_at"])
        train_from = datetime.fromisoformat(parameters["train_from"]) if parameters.get("train_from") else None
        places = world.models.known(known_at)
        rows = world.history.rows.take(places)
        divided = parts.divide(rows, settings.split, time=EVENT_TIME, known_at=known_at, train_from=train_from)
        part = np.array(divided.parts)
        parts.require_classes(rows.column(LABEL), divided.parts, world.models.labels(places))
        candidate = world.fitted(places[part == TRAIN], places[part == VALIDATION])
        held = places[part == HOLDOUT]
        stable = world.versions.get(parameters.get("champion", ""))
        champion, build = None, ""
        if stable is not None:
            for model, name in ((stable.shipped, "shipped"), (stable.evaluated, "evaluated")):
                later = held[world.history.asked[held] > moment(model.trained_until)]
                if len(later):
                    champion, build, held = model, name, later
                    break
            else:
                return Run(
                    run_id, trigger, "failed", reason="there is no labelled row that the champion was not trained on"
                )
        passed, reason, metrics = self._judged(candidate, champion, build, stable, held)
        shipped = candidate
        everything = places[part != ""]
        if passed:
            kept = len(everything) - round(len(everything) * settings.split.validation_share)
            shipped = world.fitted(everything[:kept], everything[kept:])
        name = str(len(world.versions) + 1)
        by_days = by_block(
            settings.metric,
            world.models.truth(held, candidate.signature),
            candidate.at(held),
            world.history.asked[held].astype("datetime64[D]"),
        )
        version = ModelVersion(
            settings.name, name, run_id, "", "", False, "policy:auto", "onnx", shipped.signature,
            verdict="accepted" if passed else "refused", reason=reason, metrics=metrics, trained_until=shipped.trained_until,
        )  # fmt: skip
        profile = self._profile(shipped, candidate, everything, held) if passed else world.folder
        world.versions[name] = ReplayedVersion(version, shipped, candidate, tuple(by_days.values()), profile)
        return Run(run_id, trigger, "succeeded", passed=passed, version=name, reason=reason)

    def _judged(
        self, candidate: Fitted, champion: Fitted | None, build: str, stable: ReplayedVersion | None, held: Any
    ) -> tuple[bool, str, dict[str, float]]:
        """The gate's verdict, found again by what it was taken from: its intervals cost more than a look-up."""
        world, settings = self._world, self._world.loaded.settings
        if settings.gate.own is not None:
            raise ConfigError("the gate decides by the project's own evaluate, which needs the models themselves")
        gate = settings.gate.model_dump_json()
        name = stable.version.version if stable is not None else ""
        told = [candidate.key, champion.key if champion is not None else "", build, name, gate, settings.seed]
        key = hashlib.sha256(json.dumps(told).encode() + held.tobytes()).hexdigest()[:32]
        file = world.loaded.paths.state / FOLDER / "verdicts" / f"{key}.json"
        if not file.exists():
            columns = {
                one: [str(value) for value in world.history.rows.column(one).take(held).to_pylist()]
                for one in settings.gate.slices
            }
            days = world.history.asked[held].astype("datetime64[D]")
            theirs = None if champion is None else champion.at(held)
            rows = HeldOut(world.models.truth(held, candidate.signature), candidate.at(held), days, theirs, columns)
            found = judge(rows, settings, Beside(name, build))
            metrics = {one: value.value for one, value in found.candidate.items()}
            write_whole(file, to_json([found.passed, found.reason, metrics]))
        passed, reason, metrics = json.loads(file.read_bytes())
        return passed, reason, metrics

    def _profile(self, shipped: Fitted, evaluated: Fitted, places: Any, held: Any) -> Path:
        """The version's drift reference, as a registered version carries it, known by all that it is made of."""
        import pyarrow as pa

        world, settings, held_out = self._world, self._world.loaded.settings, evaluated.at(held)
        about = [shipped.key, evaluated.key, settings.drift.every.total_seconds()]
        own = hashlib.sha256(json.dumps(about).encode() + places.tobytes() + b"|" + held.tobytes()).hexdigest()[:32]
        folder = world.loaded.paths.state / FOLDER / "profiles" / own
        if not (folder / FILE).exists():
            rows = world.history.rows
            outputs = (held_out if held_out.ndim == 2 else held_out[:, None]).astype(float).tolist()
            answered = pa.table({"output": outputs, EVENT_TIME: rows.column(EVENT_TIME).take(held)})
            signature = world.models.answering(shipped.signature)
            profile = reference_profile(rows.take(places), answered, signature, settings.drift.every)
            card = ModelCard(settings.name, settings.task, "onnx", signature, trained_until=shipped.trained_until)
            write_whole(folder / CARD_FILE, to_json(card))
            # Last: a folder with it is whole.
            write_whole(folder / FILE, profile_bytes(profile))
        return folder
