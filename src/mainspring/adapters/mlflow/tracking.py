"""`Tracking`: an MLflow tracking URI, the project's experiment, and one MLflow run for each pipeline run."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mainspring.adapters.processes.locks import locked
from mainspring.settings.paths import ProjectPaths
from mainspring.settings.project import ProjectSettings

RUN_TAG = "mainspring.run_id"
_SQLITE = "sqlite:///"


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
        """The MLflow run of a pipeline run; the same one, however often it is asked for."""
        client = self.client()
        found = client.search_runs([self.experiment_id()], f"tags.`{RUN_TAG}` = '{run_id}'", max_results=1)
        if found:
            return str(found[0].info.run_id)
        return str(client.create_run(self.experiment_id(), tags={RUN_TAG: run_id}, run_name=run_id).info.run_id)

    def log(
        self,
        run_id: str,
        *,
        params: Mapping[str, object] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Parameters, metrics and tags of a pipeline run; a metric that is no number is left out."""
        from mlflow.entities import Metric, Param, RunTag

        run = self.run(run_id)
        known = self.client().get_run(run).data.params
        self.client().log_batch(
            run,
            metrics=[
                Metric(key, float(value), 0, 0) for key, value in (metrics or {}).items() if not math.isnan(value)
            ],
            params=[Param(key, str(value)[:6000]) for key, value in (params or {}).items() if key not in known],
            tags=[RunTag(key, str(value)[:5000]) for key, value in (tags or {}).items()],
        )
        return run

    def end(self, run_id: str, *, failed: bool = False) -> None:
        """Close the MLflow run."""
        self.client().set_terminated(self.run(run_id), "FAILED" if failed else "FINISHED")

    def state(self) -> object | None:
        """Changes when the database may have changed; None where that cannot be told cheaply."""
        if not self.uri.startswith(_SQLITE):
            return None
        path = Path(self.uri.removeprefix(_SQLITE))
        found = [one for one in (path, path.with_name(f"{path.name}-wal")) if one.exists()]
        return tuple((one.stat().st_mtime_ns, one.stat().st_size) for one in found)


def _ensure_database(path: Path) -> None:
    """MLflow's tables, made under another name first: its migrations cannot go on where they were killed."""
    if path.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with locked(path.with_name(f".{path.name}.lock")):
        if path.exists():
            return
        part = path.with_name(f".{path.name}.part")
        part.unlink(missing_ok=True)
        SqlAlchemyStore(f"{_SQLITE}{part}", "mlruns").engine.dispose()
        part.replace(path)
