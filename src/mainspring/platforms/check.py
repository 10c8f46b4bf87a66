"""`mainspring check`: whether a project would run, in seconds, without leaving anything behind.

Each check is what the pipeline itself does, on fewer rows and in a folder that is thrown away. The first that fails ends
the check: those after it build on it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from mainspring.adapters.great_expectations.validator import EXPECTATIONS_FILE
from mainspring.domain.errors import ConfigError, DataError, MainspringError, ValidationFailed
from mainspring.domain.model_version import Signature
from mainspring.features.questions import EVENT_TIME, LABEL, labelled
from mainspring.pipeline.split import HOLDOUT, divide, require_classes
from mainspring.pipeline.training import TRAINING_FILE
from mainspring.platforms.business import require_columns
from mainspring.platforms.laptop import LaptopFeatures
from mainspring.platforms.personal import refuse_strange_columns, refuse_strange_columns_of, unwatched_in_words
from mainspring.platforms.sample import compute_views, refuse_empty, sample
from mainspring.settings.load import LoadedProject, load_project
from mainspring.settings.paths import ProjectPaths
from mainspring.settings.project import ProjectSettings

if TYPE_CHECKING:
    import pyarrow as pa

    from mainspring.pipeline.training import Recipe

_ONLY_SERVED = "there is no training.py: what was adopted is served and watched, and never retrained"
Status = Literal["passed", "failed", "not reached"]


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what was found; when it failed what was wrong, where, what is valid, and what to type next."""

    name: str
    status: Status
    seconds: float = 0.0
    found: str = ""
    what: str = ""
    where: str = ""
    valid: str = ""
    next_step: str = ""


@dataclass
class _Bench:
    """What the checks hand on to each other."""

    folder: Path
    scratch: Path
    known_at: datetime
    loaded: LoadedProject = field(init=False)
    features: LaptopFeatures = field(init=False)
    rows: pa.Table = field(init=False)
    signature: Signature = field(init=False)
    recipe: Recipe = field(init=False)
    model: Any = None


def check_project(folder: Path, begin: Callable[[str], None], tell: Callable[[Check], None]) -> list[Check]:
    """Run every check of the project in `folder` until one fails; `begin` and `tell` hear of each."""
    done: list[Check] = []
    with TemporaryDirectory(prefix="mainspring-check-") as scratch:
        bench = _Bench(folder, Path(scratch), datetime.now(UTC))
        for name, run in _CHECKS.items():
            if name == "questions" and done[-1].status == "passed" and _only_served(bench):
                begin("recipe")
                done.append(_checked("recipe", _served_only, bench))
                tell(done[-1])
                break
            if name == "sink" and not (done[0].status == "passed" and bench.loaded.settings.log.sink):
                continue
            if name == "expectations" and not (folder / EXPECTATIONS_FILE).is_file():
                continue
            if done and done[-1].status != "passed":
                one = Check(name, "not reached")
            else:
                begin(name)
                one = _checked(name, run, bench)
            done.append(one)
            tell(one)
    return done


def _only_served(bench: _Bench) -> bool:
    """Whether the project asks for no training at all, as one does that was written around an adopted model."""
    return not bench.loaded.settings.retrain.triggers and not (bench.folder / TRAINING_FILE).is_file()


def _served_only(bench: _Bench) -> str:
    refuse_strange_columns_of(bench.loaded, [])
    hidden = unwatched_in_words(bench.loaded.settings)
    return _ONLY_SERVED + (f"; {hidden}" if hidden else "")


def _checked(name: str, run: Callable[[_Bench], str], bench: _Bench) -> Check:
    began = time.monotonic()
    try:
        found, error = run(bench), None
    except MainspringError as refused:
        found, error = "", refused
    except Exception as unexpected:  # a library's own words, for something that a project may still be the cause of
        found, error = "", MainspringError(f"{type(unexpected).__name__}: {unexpected}", where=name)
    seconds = round(time.monotonic() - began, 2)
    if error is None:
        return Check(name, "passed", seconds, found)
    next_step = error.next_step or "mend it, then mainspring check"
    return Check(name, "failed", seconds, "", error.what, error.where, error.valid, next_step)


def _configuration(bench: _Bench) -> str:
    loaded = load_project(bench.folder)
    bench.loaded = replace(loaded, paths=ProjectPaths(loaded.paths.root, bench.scratch))
    settings = loaded.settings
    found = f"{settings.task}, judged by {settings.metric.name}; {_count(len(settings.sources), 'source')}"
    if settings.question_time is None and "on_regret" in settings.retrain.triggers:
        found += (
            "; note: questions without times have no days for retrain.policy on_regret: on_alarm or on_schedule asks"
        )
    return found


def _sources(bench: _Bench) -> str:
    import duckdb

    # Nothing is left behind: not in the project's online store either.
    settings = bench.loaded.settings.changed("features", online=None)
    bench.features = LaptopFeatures(replace(bench.loaded, settings=settings))
    found = []
    for name, source in bench.features.sources.items():
        at = bench.loaded.settings.sources[name].time
        with duckdb.connect() as db:
            db.execute("SET TimeZone = 'UTC'")
            query = source.query(db)
            names = [row[0] for row in db.execute(f"DESCRIBE {query}").fetchall()][:-1]  # the last is when it was known
            require_columns(bench.loaded.settings, name, names)
            ends = f'min("{at}"), max("{at}")' if at else "NULL, NULL"
            rows, first, last = db.execute(f"SELECT count(*), {ends} FROM ({query})").fetchone()
        if not rows:
            raise DataError(f"source {name!r} has no rows", where=str(source.uri), valid="at least one row")
        span = f", {first:%Y-%m-%d} to {last:%Y-%m-%d}" if at else ""
        found.append(f"{name}: {rows:,} rows x {_count(len(names), 'column')}{span}")
    return "; ".join(found)


def _sink(bench: _Bench) -> str:
    from mainspring.platforms.sink import hour_store

    sink = bench.loaded.settings.log.sink
    assert sink is not None
    return f"{sink.url}: {hour_store(bench.loaded, sink).try_out()}"


def _questions(bench: _Bench) -> str:
    import pyarrow as pa

    from mainspring.pipeline.signature import learn_signature, truth

    settings = bench.loaded.settings
    asked = bench.features.questions(bench.known_at, carry=True)
    rows, counts = labelled(asked, bench.known_at)
    if not rows.num_rows:
        raise DataError(
            f"none of {counts.asked:,} questions has its label yet ({counts.waiting:,} wait, {counts.never:,} never get one)",
            where=f"sources.{settings.target.source}: {settings.target.column}",
            valid="rows whose label is known by now",
        )
    at = EVENT_TIME if EVENT_TIME in rows.column_names else None
    parts = divide(rows, settings.split, time=at, known_at=bench.known_at).parts
    # The labels' part of a signature alone: whether they fit the task.
    labels = learn_signature(
        rows, {}, task=settings.task, target=settings.target.column, label=LABEL, positive=settings.target.positive
    )
    require_classes(rows.column(LABEL), parts, labels)
    held_out = rows.filter(pa.array([part == HOLDOUT for part in parts]))
    _refuse_undefined(settings, truth(held_out.column(LABEL), labels))
    bench.rows = sample(rows, labels)
    waiting = f", {counts.waiting:,} wait" if counts.waiting else ""
    never = f", {counts.never:,} never get one" if counts.never else ""
    return f"{counts.asked:,} asked, {rows.num_rows:,} with their label{waiting}{never}; {held_out.num_rows:,} held out"


def _refuse_undefined(settings: ProjectSettings, known: Any) -> None:
    """Refuse held-out rows on which the gate's metric says nothing, such as an AUC of one label."""
    from mainspring.pipeline.gate import base_rate

    metric = settings.metric.name
    if math.isnan(base_rate(settings, known, [metric])[metric]):
        raise DataError(
            f"{metric} is not defined on the {len(known):,} held-out rows: they all have the same label",
            where="mainspring.yaml: split",
            valid="held-out rows of different labels",
            next_step="lengthen split.holdout; then mainspring check",
        )


def _expectations(bench: _Bench) -> str:
    from mainspring.adapters.great_expectations.validator import GreatExpectationsValidator
    from mainspring.platforms.steps.call import StepCall
    from mainspring.platforms.steps.preparation import in_the_projects_names, in_words

    asked = bench.features.questions(bench.known_at, carry=True)
    rows, _ = labelled(asked, bench.known_at)
    call = StepCall(bench.loaded, "check", bench.known_at, "", {}, {})
    path = bench.loaded.paths.root / EXPECTATIONS_FILE
    results = GreatExpectationsValidator(path).validate(in_the_projects_names(call, rows), bench.scratch / "page.html")
    failed = [one for one in results if not one.success]
    critical = [in_words(one) for one in failed if one.severity == "critical"]
    if critical:
        raise ValidationFailed(
            "; ".join(critical),
            where=str(path),
            next_step="mend the source, or the expectation; then mainspring check",
        )
    warnings = "; ".join(f"warning: {in_words(one)}" for one in failed)
    return f"{len(results) - len(failed)} of {len(results)} hold" + (f"; {warnings}" if warnings else "")


def _features(bench: _Bench) -> str:
    from mainspring.platforms.challenger import require_slices, signature_of, with_features

    settings = bench.loaded.settings
    if bench.features.store is not None:
        if settings.features.online is not None:
            _online_store(bench, settings.features.online)
        compute_views(bench.loaded, bench.features, bench.rows)
    rows, sources, entities = with_features(bench.loaded, bench.features, bench.rows)
    require_slices(settings, rows.column_names, list(sources))
    refuse_empty(rows, sources)
    refuse_strange_columns(settings, [*sources, *entities])
    bench.rows = rows
    bench.signature = signature_of(settings, rows, sources, entities, bench.features.views())
    views = sorted({source for source in sources.values() if source != "request"})
    inputs = [name for name, source in sources.items() if source == "request"]
    hidden = unwatched_in_words(settings)
    found = f"{_count(len(inputs), 'input')} of the request" + (f"; {hidden}" if hidden else "")
    if not views:
        return found
    looked = _count(len(settings.features.transforms), "transform")
    return f"{found}, {len(sources) - len(inputs)} of {_count(len(views), 'view')}; {looked} without look-ahead"


def _online_store(bench: _Bench, section: Mapping[str, Any]) -> None:
    """Refuse an online store that Feast does not know, or options that it has not; nothing connects."""
    from mainspring.adapters.feast.repo import open_repo, write_repo

    folder = bench.scratch / "online"
    write_repo(folder, "check", section)
    try:
        open_repo(folder)
    except ConfigError as error:
        raise ConfigError(error.what, where="mainspring.yaml: features.online", next_step=error.next_step) from error


def _training(bench: _Bench) -> str:
    from mainspring.adapters.mlflow.recording import unrecorded
    from mainspring.pipeline.device import placed
    from mainspring.pipeline.training import answers, fit, load_recipe
    from mainspring.platforms.steps.fitting import data_of
    from mainspring.platforms.trial import estimator_name

    settings, root = bench.loaded.settings, bench.loaded.paths.root
    aside = round(bench.rows.num_rows * settings.split.validation_share)
    cut = bench.rows.num_rows - aside
    data = data_of(bench.rows.slice(0, cut), bench.rows.slice(cut), bench.signature)
    with unrecorded(root):
        bench.recipe = load_recipe(root)
        params, note = placed(settings.params, bench.recipe.module)
        bench.model = fit(bench.recipe, data, params, seed=settings.seed)
    answers(bench.model, data.X, bench.signature, bench.recipe)
    name = estimator_name(bench.model)
    return f"{name} on {len(data.y):,} rows x {_count(len(data.columns), 'column')}" + (f"; {note}" if note else "")


def _export(bench: _Bench) -> str:
    from mainspring.platforms.steps.fitting import export_model
    from mainspring.registry.export import TOLERANCE
    from mainspring.serving.runtime import load_card

    folder = bench.scratch / "model"
    passed_over = export_model(bench.loaded, bench.recipe, bench.model, bench.rows, bench.signature, folder)
    card = load_card(folder)
    differs = max(card.parity.values(), default=0.0)
    over = "".join(f"; not {name}: {reason}" for name, reason in passed_over.items())
    return f"served as {card.format}, whose answers differ by {differs:.1g} ({TOLERANCE:g} is allowed){over}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


_CHECKS: dict[str, Callable[[_Bench], str]] = {
    "configuration": _configuration,
    "sources": _sources,
    "sink": _sink,
    "questions": _questions,
    "expectations": _expectations,
    "features": _features,
    "training": _training,
    "export": _export,
}
