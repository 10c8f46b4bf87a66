"""Where a project keeps what; every path below the project folder is named here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProjectPaths:
    """The folders of one project. `root` holds what the user wrote; `state` everything the platform writes.

    `state_folder` puts the state elsewhere: a trial leaves nothing in the project.

    >>> ProjectPaths(Path("flights")).ledger
    PosixPath('flights/.mainspring/ledger.db')
    """

    root: Path
    state_folder: Path | None = None

    @property
    def settings_file(self) -> Path:
        """The project's policy."""
        return self.root / "mainspring.yaml"

    @property
    def state(self) -> Path:
        """Everything the platform writes."""
        return self.state_folder or self.root / ".mainspring"

    @property
    def ledger(self) -> Path:
        """Decisions and the loop's state (SQLite)."""
        return self.state / "ledger.db"

    @property
    def lease(self) -> Path:
        """Locked by the one loop that may write."""
        return self.state / "loop.lease"

    @property
    def features(self) -> Path:
        """Feast's registry, online store and the views' offline rows, by view and event date."""
        return self.state / "features"

    @property
    def runs(self) -> Path:
        """Pipeline runs, one folder each."""
        return self.state / "runs"

    @property
    def steps(self) -> Path:
        """Outputs of steps by cache key."""
        return self.state / "steps"

    @property
    def tracking_db(self) -> Path:
        """MLflow's SQLite."""
        return self.state / "mlflow.db"

    @property
    def tracking_artifacts(self) -> Path:
        """MLflow's artifacts."""
        return self.state / "mlflow-artifacts"

    @property
    def models(self) -> Path:
        """Local copies of served versions, one folder each."""
        return self.state / "models"

    @property
    def serving(self) -> Path:
        """Predictors: configuration and output, one folder for each version and build."""
        return self.state / "serving"

    @property
    def proxy(self) -> Path:
        """Envoy's configuration and access log."""
        return self.state / "envoy"

    @property
    def segments(self) -> Path:
        """Prediction-log segments that are still being appended to."""
        return self.state / "log" / "segments"

    @property
    def predictions(self) -> Path:
        """The prediction log as Parquet, by event date and hour."""
        return self.state / "log" / "predictions"

    @property
    def labels(self) -> Path:
        """Labels that were added by file."""
        return self.state / "labels"

    @property
    def scoring(self) -> Path:
        """Rows that `mainspring score` answered and that are not in the prediction log yet, by output file."""
        return self.state / "scoring"

    @property
    def log_key(self) -> Path:
        """The key of the prediction log's hashes, where the project names no secret."""
        return self.state / "log" / "key"

    @property
    def alerts(self) -> Path:
        """Alerts and what became of each on its way to people (SQLite)."""
        return self.state / "alerts.db"

    @property
    def performance(self) -> Path:
        """Performance reports, and the blocks that do not change any more."""
        return self.state / "performance"

    @property
    def log_sink(self) -> Path:
        """What the prediction log's sink has, as far as this project knows; and this project's name as a writer there."""
        return self.state / "log" / "sink"

    @property
    def fetched(self) -> Path:
        """Copies of sources' files that lie on an object store, by source."""
        return self.state / "sources"

    @property
    def drift(self) -> Path:
        """Drift profiles and reports."""
        return self.state / "drift"
