"""`LaptopChallengers`: a cheap refit on what was known some time ago, scored against the champion on the days since."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mainspring.domain.errors import ConfigError
from mainspring.domain.model_version import Signature
from mainspring.domain.time import TimeWindow, utc
from mainspring.features.questions import EVENT_TIME, LABEL, RESERVED, labelled, request_columns
from mainspring.loop.platform import BlockScore
from mainspring.performance.whole_days import by_block
from mainspring.pipeline.signature import aligned, frame, learn_signature, truth
from mainspring.pipeline.training import answers, fit, load_recipe
from mainspring.platforms.laptop import LaptopFeatures
from mainspring.ports import FeatureViewInfo, ModelRegistry
from mainspring.serving.missing import policies
from mainspring.settings.load import LoadedProject
from mainspring.settings.project import ProjectSettings

if TYPE_CHECKING:
    import pyarrow as pa

MOST_ROWS = 200_000
"""Beyond this many, rows are drawn evenly. It bounds what a question costs, and is generous: a challenger with fewer rows
than the champion had loses for want of rows, and says nothing about what a retraining would be worth."""


class LaptopChallengers:
    """`ChallengerJob` in this process."""

    def __init__(self, loaded: LoadedProject, features: LaptopFeatures, registry: ModelRegistry) -> None:
        self._loaded = loaded
        self._features = features
        self._registry = registry
        self._fitted: dict[str, tuple[Any, Signature]] = {}

    def fit(self, known_at: datetime, train_from: datetime | None = None) -> str:
        """Fit a challenger on what is known, from an instant on; returns its id. Called again for the same it does nothing."""
        name = f"{utc(known_at):%Y%m%dT%H%M}" + (f"-{utc(train_from):%Y%m%dT%H%M}" if train_from is not None else "")
        if name in self._fitted:
            return name
        from mainspring.adapters.mlflow.recording import unrecorded
        from mainspring.pipeline.device import placed
        from mainspring.platforms.steps.fitting import data_of

        settings = self._loaded.settings
        since = TimeWindow(train_from, known_at) if train_from is not None else None
        rows, _ = labelled(self._features.questions(known_at, since), known_at)
        if rows.num_rows > MOST_ROWS:
            step = rows.num_rows / MOST_ROWS
            rows = rows.take([int(place * step) for place in range(MOST_ROWS)])
        rows, sources, entities = with_features(self._loaded, self._features, rows)
        signature = signature_of(settings, rows, sources, entities, self._features.views())
        cut = round(rows.num_rows * (1 - settings.split.validation_share))
        data = data_of(rows.slice(0, cut), rows.slice(cut), signature)
        with unrecorded(self._loaded.paths.root):
            recipe = load_recipe(self._loaded.paths.root)
            params, _ = placed(settings.params, recipe.module)
            model = fit(recipe, data, params, seed=settings.seed)
        self._fitted = {name: (model, signature)}  # only the newest is asked about
        return name

    def trained_until(self, challenger: str) -> datetime:
        """The instant whose knowledge the challenger was trained on."""
        return utc(datetime.strptime(challenger.split("-", 1)[0], "%Y%m%dT%H%M"))

    def scores(self, challenger: str, champion: str, known_at: datetime) -> Sequence[BlockScore]:
        """Scores on every block of whole days after both were trained, oldest first."""
        from mainspring.platforms.steps import plain, replay
        from mainspring.serving.runtime import load_card

        settings = self._loaded.settings
        since = self.trained_until(challenger)
        version = next(one for one in self._registry.versions() if one.version == champion)
        if version.trained_until is not None:
            since = max(since, version.trained_until)
        rows, _ = labelled(self._features.questions(known_at, TimeWindow(since, known_at)), known_at)
        if not rows.num_rows or EVENT_TIME not in rows.column_names:
            return []  # Without times there are no days to compare.
        rows, _, _ = with_features(self._loaded, self._features, rows)
        model, signature = self._fitted[challenger]
        recipe = load_recipe(self._loaded.paths.root)
        folder = self._registry.fetch(champion)
        card = load_card(folder)
        new = answers(model, frame(rows, signature), signature, recipe)
        old = aligned(replay(folder, card, plain(rows, card.signature)), card.signature, signature)
        days = rows.column(EVENT_TIME).to_numpy().astype("datetime64[D]")
        known = truth(rows.column(LABEL), signature)
        ours, theirs = by_block(settings.metric, known, new, days), by_block(settings.metric, known, old, days)
        return [BlockScore(name, ours[name], theirs[name]) for name in ours if name in theirs]


def with_features(
    loaded: LoadedProject, features: LaptopFeatures, rows: pa.Table
) -> tuple[pa.Table, dict[str, str], list[str]]:
    """Rows with the views' features as known at each, each input's source, and the views' entity keys.

    What only on-demand views look at comes along, and is no input of the model; columns without a role are put aside meanwhile.
    """
    settings = loaded.settings
    inputs = {*request_columns(settings, rows.column_names), *RESERVED, *features.entities()}
    carried = rows.select([name for name in rows.column_names if name not in inputs])
    rows = rows.drop_columns(carried.column_names)
    present = features.sources[settings.target.source].read(known_at=datetime.max, limit=1).column_names
    sources = {name: "request" for name in request_columns(settings, present) if name in rows.column_names}
    entities: list[str] = []
    if features.store is not None:
        rows = features.store.historical(rows)
        for view in features.store.views():
            sources |= {name: view.name for name, _ in view.features if name in rows.column_names}
            entities += [key for key in view.entities if key not in entities]
    for name in carried.column_names:
        if name not in rows.column_names:
            rows = rows.append_column(name, carried.column(name))
    return rows, sources, entities


def require_slices(
    settings: ProjectSettings, present: Sequence[str], valid: Sequence[str], next_step: str = ""
) -> None:
    """Refuse slices of the gate that are none of the columns there are. Errors: `ConfigError`."""
    strange = [name for name in settings.gate.slices if name not in present]
    if strange:
        raise ConfigError(
            f"there is no column {', '.join(strange)} to slice by",
            where="mainspring.yaml: gate.slices",
            valid=", ".join(valid),
            next_step=next_step,
        )


def signature_of(
    settings: ProjectSettings,
    rows: pa.Table,
    sources: dict[str, str],
    entities: list[str],
    views: Sequence[FeatureViewInfo] = (),
) -> Signature:
    """What a model of the project takes, learnt from rows as `with_features` gives them; `views` are the project's.

    A view's policy for what is missing is held against it: `ConfigError` where `features.defaults` does not fit.
    """
    signature = learn_signature(
        rows,
        sources,
        task=settings.task,
        target=settings.target.column,
        label=LABEL,
        entities=entities,
        categorical=settings.features.categorical,
        positive=settings.target.positive,
        on_demand={view.name: view.inputs for view in views if view.on_demand},
        hidden={name: view.name for view in views for name, _ in view.hidden},
    )
    policies(signature, settings.features.missing, settings.features.missing_by, settings.features.defaults)
    return signature
