"""`mainspring.yaml` as typed data: every key, its unit, what leaving it out means, and why the default is what it is.

Belongs here: the shape of a project and the checks that need nothing but the file. Reading the file, `${VAR}` and
suggestions for a misspelt key live in `settings.load`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from mainspring.domain.metric import DEFAULT_METRIC, METRICS, Metric, Task
from mainspring.domain.time import duration_in_words
from mainspring.settings.drift import DriftSettings
from mainspring.settings.keeping import KeepSettings, LogSettings
from mainspring.settings.labels import LabelSettings
from mainspring.settings.notify import NotifySettings
from mainspring.settings.part import Duration, Part
from mainspring.settings.performance import PerformanceSettings
from mainspring.settings.retrain import RetrainSettings
from mainspring.settings.rollout import RolloutSettings
from mainspring.settings.storage import S3_SCHEME, S3Settings

MissingPolicy = Literal["serve_and_flag", "reject", "default"]
ColumnType = Literal["int", "float", "bool", "str", "time", "date", "category"]


class SourceSettings(Part):
    """One table that the project reads: a file, a folder of files, or a table behind a SQL URL."""

    path: str | None = None
    """A Parquet or CSV file, folder or glob, relative to the project folder, or `s3://bucket/...`. Exactly one of `path` and `url`."""
    s3: S3Settings | None = None
    """With an `s3://` path: how it is reached, where that is not what the project's `s3` says."""
    url: str | None = None
    """A SQL URL that Ibis understands (`sqlite:///x.db`, `duckdb:///x.db`, `postgres://${USER}:${PASSWORD}@host/db`)."""
    table: str | None = None
    """With `url`: the table's name."""
    query: str | None = None
    """With `url`: a SELECT in place of a table."""
    time: str | None = None
    """The column with each row's event time; None for a table without times."""
    available_at: str | None = None
    """The column that says when a row became known. None: `delay` after its event time."""
    delay: Duration = timedelta(0)
    """How long after its event time a row becomes known, where no column says it."""
    columns: dict[str, ColumnType] = Field(default_factory=dict)
    """Declared types by column; what is not declared is taken as it is. A row that does not fit is refused, by row."""
    nulls: list[str] = Field(default_factory=list)
    """CSV only: texts that stand for a missing value, in every column, such as NA or ?. An empty field always does."""

    @model_validator(mode="after")
    def _one_place(self) -> SourceSettings:
        if (self.path is None) == (self.url is None):
            raise ValueError("exactly one of `path` and `url` says where the rows are")
        if self.url is not None and (self.table is None) == (self.query is None):
            raise ValueError("with `url`, exactly one of `table` and `query` says which rows")
        if self.url is not None and self.nulls:
            raise ValueError("`nulls` is for CSV files; a SQL table has NULL")
        if self.s3 is not None and not str(self.path).startswith(S3_SCHEME):
            raise ValueError("`s3` is for a path that begins with s3://")
        return self


class TargetSettings(Part):
    """What is predicted. Each row of the source is one question that could have been asked, with its answer, if any."""

    source: str
    """Name of the source whose rows are the questions."""
    column: str
    """The label's column; a null label is a question that never got its answer."""
    time: str | None = None
    """The column with the instant at which the question is asked (the point in time of every join). None: the source's `time`."""
    id: str | None = None
    """The column with the request id, by which predictions meet their labels. None: rows have no identity and labels cannot come back."""
    available_at: str | None = None
    """The column that says when the label became known. None: `delay` after the question."""
    delay: Duration = timedelta(0)
    """How long after the question its label becomes known, where no column says it."""
    positive: str | int | bool | None = None
    """Binary only: the label that counts as positive. None: the larger of the two."""
    weight: str | None = None
    """The column with each row's weight in training, no input of the model; the gate counts every row once. None: all 1."""


class TransformSettings(Part):
    """A function of `transforms.py` that computes the rows of the view of the same name."""

    every: Duration = timedelta(days=1)
    """The schedule: rows are computed at each multiple of this since 1970-01-01T00:00Z."""
    backfill: Duration = timedelta(days=366)
    """How far back rows are computed before the first instant of training data."""


class FeatureSettings(Part):
    """The model's inputs: columns of the request, and feature views."""

    request: list[str] | None = None
    """Columns of the target's source that a caller sends with the question. None: every column that has no other role."""
    categorical: list[str] = Field(default_factory=list)
    """Inputs to be treated as categories although their type does not say so."""
    service: str | None = None
    """The Feast feature service in `features.py`. None: the project's only one, or no views at all."""
    repo: str | None = None
    """Folder of an existing Feast repository in place of `features.py`."""
    transforms: dict[str, TransformSettings] = Field(default_factory=dict)
    """Views whose rows this project computes itself, by view name."""
    entities: dict[str, str] = Field(default_factory=dict)
    """Entity join key -> column of the target's source, where the names differ."""
    online: dict[str, str | int | float | bool] | None = None
    """The online store as Feast's `online_store` section has it, such as `{type: redis, connection_string: "cache:6379"}`.
    Redis and SQLite are read directly, any other store by Feast's SDK. None: SQLite in the state folder."""
    online_timeout: Duration = timedelta(seconds=0.25)
    """The longest that a request waits for an online store; after that its features are missing, by the policy below.
    A quarter of a second: a hundred round trips of a network, and not yet what a caller gives up on."""
    missing: MissingPolicy = "serve_and_flag"
    """A looked-up feature that is missing, older than its view's ttl, or not to be had: answer with NaN and a flag, refuse
    (`reject`), or put in what `defaults` states (`default`). Where training saw nulls, NaN is served whatever this says,
    unless a default is stated. Never a silent 0."""
    missing_by: dict[str, MissingPolicy] = Field(default_factory=dict)
    """The policy of a feature or of all features of a view, by name, where it is another one."""
    defaults: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """What stands in for a feature under `default`; every such feature that training never saw missing needs one."""
    units: dict[str, str] = Field(default_factory=dict)
    """What a feature is measured in, such as `{temp: "°F"}`; reports for people say it."""

    @model_validator(mode="after")
    def _one_store(self) -> FeatureSettings:
        if self.online is not None and self.repo is not None:
            raise ValueError(
                "`online` is for `features.py`; a repository says in its feature_store.yaml which store it has"
            )
        if self.online is not None and "type" not in self.online:
            raise ValueError("`online` has no `type`; valid: sqlite, redis, or any other online store of Feast's")
        return self


class SplitSettings(Part):
    """How rows are divided for training and for the gate."""

    holdout: Duration = timedelta(days=14)
    """The newest labelled window, which neither candidate nor champion was trained on and on which the gate compares
    them. Two weeks: each weekday twice; what is held out is lost to the evaluated model only."""
    holdout_share: float = Field(default=0.2, gt=0, lt=0.9)
    """Without event times: the share of rows held out, chosen by a hash of the row."""
    validation_share: float = Field(default=0.0, ge=0, lt=0.9)
    """The share of the training rows (the newest, when there are times) set aside for a `train` that stops early.
    None by default: the newest rows are those a model has most from, and most recipes do not look at them."""
    window: Duration | None = None
    """Train on this much of the newest history. None: all of it."""


class GateSettings(Part):
    """When a trained model may be shipped."""

    metric: str | None = None
    """The task's metric that decides. None: auc, log_loss or rmse by task."""
    min_gain: float = 0.0
    """How much better than the champion on the gate's window; 0: strictly better."""
    floor: float | None = None
    """An absolute bound for the metric, on the side that is worse. None: better than the base rate."""
    own: str | None = None
    """A number of the project's own `evaluate` by which candidate and champion are compared in place of `metric`, which
    still has to pass its floors. It has no interval. None: `metric` decides."""
    own_higher_is_better: bool = True
    """The direction of `own`."""
    slices: list[str] = Field(default_factory=list)
    """Columns whose values are judged one by one."""
    slice_max_loss: float = Field(default=0.05, ge=0)
    """How much worse than the champion any slice with at least `slice_min_rows` may be."""
    slice_floor: float | None = None
    """An absolute bound for the metric in every slice with at least `slice_min_rows`. None: only the champion is one."""
    slice_min_rows: int = Field(default=500, ge=1)
    """Smaller slices are reported, not judged: their interval is wider than `slice_max_loss`."""


class ServingSettings(Part):
    """Ports and limits of what callers reach."""

    port: int = Field(default=8080, ge=0, le=65535)
    """Envoy's port for callers on 127.0.0.1; 0 takes a free one."""
    metrics_port: int | None = Field(default=None, ge=0, le=65535)
    """The loop's own port on 127.0.0.1, where `/metrics` is; 0 takes a free one. None: the next after `port`, and a free one
    where that is taken or `port` is 0."""
    timeout: Duration = timedelta(seconds=5)
    """Longest a caller waits."""
    fsync: bool = False
    """Whether each prediction is on the disk, not only with the kernel, before it is answered."""
    on_log_failure: Literal["refuse", "serve"] = "refuse"
    """What becomes of an answer that cannot be logged, as on a full disk: 503, or it goes out unlogged. Refused by default: what
    is not in the log is seen by no test of a rollout, no drift report and no label. Both are counted, and said once."""
    grpc: bool = False
    """Whether callers are answered over gRPC, too, at `port`. Off by default: each predictor would take memory for it."""
    workers: int = Field(default=1, ge=1, le=256)
    """Processes that serve each version on its port. One by default: it keeps one core busy, and a laptop serves two
    versions, trains and replays beside it."""


class TrackingSettings(Part):
    """MLflow."""

    uri: str | None = None
    """Any MLflow tracking URI. None: SQLite and files in the project's state folder."""
    experiment: str | None = None
    """The experiment's name. None: the project's."""


class ProjectSettings(Part):
    """A project: one model, from its sources to its retraining."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")
    """Name of the project and of its registered model."""
    task: Task
    """binary, multiclass or regression."""
    sources: dict[str, SourceSettings] = Field(min_length=1)
    """The tables that the project reads, by name."""
    target: TargetSettings
    """What is predicted."""
    labels: LabelSettings = LabelSettings()
    features: FeatureSettings = FeatureSettings()
    split: SplitSettings = SplitSettings()
    params: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Handed to `train` as they are."""
    seed: int = 7
    """Every random choice of the platform starts from it, and `params['seed']` when not given."""
    gate: GateSettings = GateSettings()
    rollout: RolloutSettings = RolloutSettings()
    drift: DriftSettings = DriftSettings()
    performance: PerformanceSettings = PerformanceSettings()
    retrain: RetrainSettings = RetrainSettings()
    serving: ServingSettings = ServingSettings()
    log: LogSettings = LogSettings()
    keep: KeepSettings = KeepSettings()
    notify: NotifySettings = NotifySettings()
    tracking: TrackingSettings = TrackingSettings()
    s3: S3Settings = S3Settings()

    @model_validator(mode="after")
    def _consistent(self) -> ProjectSettings:
        if self.target.source not in self.sources:
            raise ValueError(
                f"target.source: {self.target.source!r} is not a source; there are {', '.join(self.sources)}"
            )
        if self.labels.source is not None and self.labels.source not in self.sources:
            raise ValueError(
                f"labels.source: {self.labels.source!r} is not a source; there are {', '.join(self.sources)}"
            )
        if self.labels.source == self.target.source:
            raise ValueError("labels.source: the target's own source already gives its labels")
        unseen = sorted({*self.labels.entities} & {*self.concealed[0]})
        if unseen:
            raise ValueError(
                f"labels.entities: predictions cannot meet labels by {', '.join(unseen)}, which log.drop keeps out of the log; "
                "log.hash would do"
            )
        business = self.rollout.business
        if business is not None:
            found = self.sources.get(business.source)
            if found is None:
                raise ValueError(
                    f"rollout.business.source: {business.source!r} is not a source; there are {', '.join(self.sources)}"
                )
            if found.time is None:
                raise ValueError(f"rollout.business.source: {business.source!r} needs `time`: when a row happened")
            if found.available_at is not None and business.wait is None:
                raise ValueError(
                    f"rollout.business.wait: rows of {business.source!r} say when they became known; say how long after the "
                    "window they are waited for, such as 1d"
                )
        if self.gate.metric is not None:
            known = [metric.name for metric in METRICS.values() if self.task in metric.tasks]
            if self.gate.metric not in known:
                raise ValueError(
                    f"gate.metric: {self.gate.metric!r} is not a metric of a {self.task} task; there are {', '.join(known)}"
                )
        needed = max(
            self.drift.trailing + 2 * self.drift.every,
            self.retrain.ask_window,
            self.rollout.undecided.after,
            self.rollout.guard.time,
            self.mature_after + timedelta(days=2),
        )
        if self.keep.log is not None and self.keep.log < needed:
            raise ValueError(
                f"keep.log: the log is read {duration_in_words(needed)} back (drift.trailing, retrain.ask_window, "
                "rollout.undecided, rollout.guard, performance.mature_after); it cannot be kept for less"
            )
        local = self.log.sink.local if self.log.sink is not None else None
        if local is not None and local < needed:
            raise ValueError(
                f"log.sink.local: what is on this disk is read {duration_in_words(needed)} back (drift.trailing, "
                "retrain.ask_window, rollout.undecided, rollout.guard); it cannot stay for less"
            )
        return self

    @property
    def concealed(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Columns that the prediction log gets not at all, and those it gets as a hash, by the names that callers send."""
        # Entities are logged under the names of the request's columns.
        columns, log = self.features.entities, self.log
        return tuple(columns.get(one, one) for one in log.drop), tuple(columns.get(one, one) for one in log.hash)

    def changed(self, section: str, **values: object) -> ProjectSettings:
        """These settings with other values in one section, taken as they are."""
        return self.model_copy(update={section: getattr(self, section).model_copy(update=values)})

    @property
    def mature_after(self) -> timedelta:
        """How long after a block of time its labels are waited for."""
        return self.labels.late_after if self.performance.mature_after is None else self.performance.mature_after

    @property
    def metric(self) -> Metric:
        """The metric that the gate decides by."""
        return METRICS[self.gate.metric or DEFAULT_METRIC[self.task]]

    @property
    def question_time(self) -> str | None:
        """The column with the instant of each question, None for a table without times."""
        return self.target.time or self.sources[self.target.source].time
