"""`Tracking`: an MLflow tracking URI, the project's experiment, and the MLflow runs of each pipeline run.

A pipeline run has one MLflow run, in which the model that the gate evaluates is trained, and, where the winner is
refitted, another below it, whose model ships. Work that failed keeps its run; resumed, it gets a new one.
"""

from __future__ import annotations

import logging
import math
import re
import time
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mainspring.adapters.processes.locks import locked
from mainspring.domain.dataset import Dataset
from mainspring.settings.paths import ProjectPaths
from mainspring.settings.project import ProjectSettings

RUN_TAG = "mainspring.run_id"
REFIT_TAG = "mainspring.refit_of"
REASON_TAG = "mainspring.reason"
_PARENT_TAG, _NOTE_TAG = "mlflow.parentRunId", "mlflow.note.content"
_SQLITE = "sqlite:///"
_LONGEST = 5000


class Tracking:
    """MLflow as the project names it; without a name SQLite and files in the project's state folder."""

    def __init__(self, settings: ProjectSettings, paths: ProjectPaths) -> None:
        own = settings.tracking.uri
        self.uri = own or f"{_SQLITE}{paths.tracking_db.resolve()}"
        self.experiment = settings.tracking.experiment or settings.name
        self._artifacts = None if own else paths.tracking_artifacts.resolve()
        self._client: Any = None
        self._experiment_id = ""

    def client(self) -> Any:
        """MLflow's client, connected; the database is made when it is new."""
        if self._client is None:
            from mlflow import MlflowClient
            from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR

            # That it makes its tables and copies a file is news to nobody.
            if not MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.is_set():
                MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
            logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
            if self.uri.startswith(_SQLITE):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # MLflow uses what SQLAlchemy has deprecated
                    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
                _ensure_database(Path(self.uri.removeprefix(_SQLITE)))
            self._client = MlflowClient(self.uri, self.uri)
        return self._client

    def experiment_id(self) -> str:
        """The experiment's id; it is made when it is new."""
        if not self._experiment_id:
            from mlflow.exceptions import MlflowException

            client = self.client()
            found = client.get_experiment_by_name(self.experiment)
            if found is None:
                place = None if self._artifacts is None else self._artifacts.as_uri()
                try:
                    self._experiment_id = client.create_experiment(self.experiment, artifact_location=place)
                except MlflowException:
                    found = client.get_experiment_by_name(self.experiment)  # somebody else was first
            if found is not None:
                self._experiment_id = found.experiment_id
        return self._experiment_id

    def run(self, run_id: str) -> str:
        """The MLflow run of a pipeline run; the same one, however often it is asked for, until it failed."""
        return self._found(RUN_TAG, run_id) or self._made(run_id, {RUN_TAG: run_id})

    def refit(self, run_id: str) -> str:
        """The MLflow run of the refit that ships, below that of the pipeline run."""
        tags = {REFIT_TAG: run_id, _PARENT_TAG: self.run(run_id)}
        return self._found(REFIT_TAG, run_id) or self._made(f"{run_id}-refit", tags)

    def log(
        self,
        run: str,
        *,
        params: Mapping[str, object] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Parameters, metrics and tags of an MLflow run, each once; a metric that is no number is left out."""
        from mlflow.entities import Metric, Param, RunTag

        known = self.client().get_run(run).data
        self.client().log_batch(
            run,
            metrics=[
                Metric(key, float(value), 0, 0)
                for key, value in {_allowed(key): value for key, value in (metrics or {}).items()}.items()
                if not math.isnan(value) and known.metrics.get(key) != value
            ],
            params=[Param(key, str(value)[:6000]) for key, value in (params or {}).items() if key not in known.params],
            tags=[RunTag(key, str(value)[:_LONGEST]) for key, value in (tags or {}).items() if value],
        )

    def log_curve(self, run: str, name: str, points: Iterable[tuple[int, float]]) -> None:
        """A metric over steps, once; MLflow's UI draws it."""
        from mlflow.entities import Metric

        if self.client().get_metric_history(run, name):
            return
        found = [Metric(name, value, 0, step) for step, value in points if not math.isnan(value)]
        self.client().log_batch(run, metrics=found)

    def log_dataset(self, run: str, dataset: Dataset, name: str) -> None:
        """The training set, by reference: MLflow's UI shows it as the run's input."""
        import json

        from mlflow.entities import Dataset as MlflowDataset
        from mlflow.entities import DatasetInput, InputTag

        columns = {"mlflow_colspec": [{"type": one.type, "name": one.name} for one in dataset.columns]}
        given = MlflowDataset(
            name,
            dataset.digest,
            "local",
            json.dumps({"uri": dataset.uri}),
            schema=json.dumps(columns)[:60_000],
            profile=json.dumps({"num_rows": dataset.rows}),
        )
        self.client().log_inputs(run, [DatasetInput(given, [InputTag("mlflow.data.context", "training")])])

    def keep(self, run: str, path: Path, name: str = "") -> None:
        """A file or folder as an artifact, at the root of the run's artifacts or under another name."""
        if name and path.is_file() and path.name != name:
            self.client().log_text(run, path.read_text(encoding="utf-8"), name)
        elif path.is_dir():
            self.client().log_artifacts(run, str(path), name or None)
        else:
            self.client().log_artifact(run, str(path))

    def end(self, run_id: str, *, failed: bool = False, reason: str = "") -> None:
        """Close the MLflow runs of a pipeline run; `reason` is what MLflow's UI shows of it."""
        status = "FAILED" if failed else "FINISHED"
        run = self._newest(RUN_TAG, run_id)
        ours = self.run(run_id) if run is None else str(run.info.run_id)
        if reason:
            self.log(ours, tags={REASON_TAG: reason, _NOTE_TAG: reason})
        refit = self._newest(REFIT_TAG, run_id)
        if refit is not None and refit.data.tags.get(_PARENT_TAG) == ours:
            self.client().set_terminated(refit.info.run_id, status)
        self.client().set_terminated(ours, status)

    def state(self) -> object | None:
        """Changes when the database may have changed; None where that cannot be told cheaply."""
        if not self.uri.startswith(_SQLITE):
            return None
        path = Path(self.uri.removeprefix(_SQLITE))
        found = [one for one in (path, path.with_name(f"{path.name}-wal")) if one.exists()]
        return tuple((one.stat().st_mtime_ns, one.stat().st_size) for one in found)

    def _found(self, tag: str, value: str) -> str:
        run = self._newest(tag, value)
        return str(run.info.run_id) if run is not None and run.info.status in ("RUNNING", "FINISHED") else ""

    def _newest(self, tag: str, value: str) -> Any:
        which = f"tags.`{tag}` = '{value}'"
        order = ["attributes.start_time DESC"]
        found = self.client().search_runs([self.experiment_id()], which, order_by=order, max_results=1)
        return found[0] if found else None

    def _made(self, name: str, tags: dict[str, str]) -> str:
        tags = {**tags, "mlflow.source.name": "mainspring", "mlflow.source.type": "JOB"}
        return str(self.client().create_run(self.experiment_id(), tags=tags, run_name=name).info.run_id)


def _allowed(name: str) -> str:
    """A metric's name as MLflow takes it; columns may be called anything.

    >>> _allowed("importance_petal length (cm)")
    'importance_petal length _cm_'
    """
    return re.sub(r"[^\w .:/-]", "_", name)[:250]


def _ensure_database(path: Path) -> None:
    """MLflow's tables, made under another name first: its migrations cannot go on where they were killed."""
    if path.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with locked(path.with_name(f".{path.name}.lock")):
        if path.exists():
            return
        for left in path.parent.glob(f".{path.name}.*.part"):
            left.unlink()
        # MLflow keeps a connection by name: another attempt of this process needs another one.
        part = path.with_name(f".{path.name}.{time.time_ns():x}.part")
        SqlAlchemyStore(f"{_SQLITE}{part}", "mlruns").engine.dispose()
        part.replace(path)
