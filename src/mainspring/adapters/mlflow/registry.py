"""`MlflowRegistry`: model versions, aliases and tags in MLflow's registry, with the model's files as its artifacts.

A version's facts that never change lie beside its files (`version.json`); what may change is MLflow's own (aliases,
tags), so that its UI shows it. A version is found again by the run that made it: registering twice makes one.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mainspring.adapters.mlflow.tracking import Tracking
from mainspring.domain.codec import from_json, to_json
from mainspring.domain.errors import MainspringError, NotFound, TemporaryError
from mainspring.domain.model_version import ModelVersion

VERSION_FILE = "version.json"
ARTIFACT = "model"
COLLECTED_TAG = "mainspring.collected"
_PREFIX = "mainspring."
_RUN_ID = f"{_PREFIX}run_id"
_LOADER = "mainspring.adapters.mlflow.pyfunc"


class MlflowRegistry:
    """`ModelRegistry` on MLflow. `models` keeps local copies, one folder a version."""

    def __init__(self, name: str, tracking: Tracking, models: Path) -> None:
        self._name = name
        self._tracking = tracking
        self._models = models
        self._seen: tuple[object, list[ModelVersion]] | None = None
        self._facts: dict[str, ModelVersion] = {}

    def versions(self) -> Sequence[ModelVersion]:
        """All versions with their aliases, oldest first."""
        state = self._tracking.state()
        if self._seen is not None and state is not None and self._seen[0] == state:
            return self._seen[1]
        found = self._read()
        self._seen = (state, found)
        return found

    def register(self, draft: ModelVersion, model: Path) -> ModelVersion:
        """Register the model folder as a new version, or return the one that `draft.run_id` already made."""
        client = self._tracking.client()
        self._ensure_model()
        known = next((one for one in self.versions() if one.run_id == draft.run_id), None)
        if known is not None:
            return known
        run = draft.shipped_run or draft.evaluated_run or self._tracking.run(draft.run_id)
        draft = replace(draft, digest=folder_digest(model), name=self._name, evaluated_run=draft.evaluated_run or run)
        self.keep(draft, model, run)
        tags = {
            _RUN_ID: draft.run_id,
            f"{_PREFIX}verdict": draft.verdict,
            f"{_PREFIX}reason": draft.reason[:4000],
            f"{_PREFIX}approver": draft.approver,
            f"{_PREFIX}trained_by": draft.trained_by,
            f"{_PREFIX}digest": draft.digest,
            f"{_PREFIX}dataset_digest": draft.dataset_digest,
            f"{_PREFIX}git_sha": draft.git_sha,
            f"{_PREFIX}git_dirty": str(draft.git_dirty).lower(),
            f"{_PREFIX}features": features_in_words(draft.features),
            f"{_PREFIX}format": draft.format,
            f"{_PREFIX}evaluated_run": draft.evaluated_run,
            f"{_PREFIX}shipped_run": draft.shipped_run,
            **({f"{_PREFIX}origin": draft.origin} if draft.origin else {}),
        }
        source = f"{client.get_run(run).info.artifact_uri}/{ARTIFACT}"
        made = client.create_model_version(
            self._name, source, run, tags=tags, description=f"{draft.verdict}: {draft.reason}"[:4000]
        )
        self._seen = None
        return next(one for one in self.versions() if one.version == str(made.version))

    def keep(self, draft: ModelVersion, model: Path, run: str) -> None:
        """Log the model folder to an MLflow run, so that MLflow's own loader reads it there; nothing is registered."""
        with tempfile.TemporaryDirectory() as folder:
            staged = Path(folder) / ARTIFACT
            shutil.copytree(model, staged / "model")
            (staged / VERSION_FILE).write_bytes(to_json(draft, indent=2))
            self._describe(draft, staged, run)
            self._tracking.client().log_artifacts(run, str(staged), ARTIFACT)

    def evaluated(self, version: str, target: Path) -> Path | None:
        """The model that the gate evaluated before it was refitted and shipped, copied below `target`; None without."""
        one = self._version(version)
        if not one.shipped_run:
            return None
        uri = self._tracking.client().get_run(one.evaluated_run).info.artifact_uri
        return self._downloaded(f"{uri}/{ARTIFACT}/model", target)

    def set_alias(self, alias: str, version: str) -> None:
        """Point `alias` at a version; an empty version removes the alias."""
        current = next((one.version for one in self.versions() if alias in one.aliases), "")
        if current == version:
            return
        client = self._tracking.client()
        if version:
            client.set_registered_model_alias(self._name, alias, version)
        else:
            client.delete_registered_model_alias(self._name, alias)
        self._seen = None

    def annotate(self, version: str, tags: Mapping[str, str]) -> None:
        """Add or replace tags of a version."""
        known = self._version(version).tags
        for key, value in tags.items():
            if known.get(key) != value:
                self._tracking.client().set_model_version_tag(self._name, version, key, value[:4000])
        self._seen = None

    def fetch(self, version: str) -> Path:
        """A local folder with the version's files, its digest checked.

        Errors: `NotFound`, and `MainspringError` when the files are not those that were registered.
        """
        one = self._version(version)
        folder = self._models / version
        if folder.is_dir():
            return folder
        part = self._models / f".{version}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        self._download(version, "model", part)
        found = folder_digest(part / "model")
        if found != one.digest:
            raise MainspringError(
                f"the files of version {version} are not those that were registered",
                where=f"digest {found[:12]}, registered {one.digest[:12]}",
                next_step="mainspring run, for a new version",
            )
        (part / "model").replace(folder)
        shutil.rmtree(part, ignore_errors=True)
        return folder

    def remove(self, version: str) -> None:
        """Take a version out of the registry; one that is not there stays so. Its files stay where they are.

        Errors: `MainspringError` for a version that has an alias: somebody refers to it.
        """
        from mlflow.exceptions import MlflowException

        self._seen = None
        known = next((one for one in self.versions() if one.version == version), None)
        if known is not None and known.aliases:
            raise MainspringError(f"version {version} has the alias {', '.join(known.aliases)}: it is not deleted")
        try:
            self._tracking.client().delete_model_version(self._name, version)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        self._seen = None
        self._facts.pop(version, None)

    def remove_model(self, run: str) -> None:
        """Delete the model's files from a run's artifacts; its parameters, metrics and pages stay.

        A run that is not there any more has none. Errors: `MainspringError` where the artifact store does not delete.
        """
        from mlflow.exceptions import MlflowException
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        try:
            found = self._tracking.client().get_run(run)
            # Where nothing is, some stores refuse to delete.
            if self.model_bytes(run):
                get_artifact_repository(found.info.artifact_uri, self._tracking.uri).delete_artifacts(ARTIFACT)
            self._tracking.client().set_tag(run, COLLECTED_TAG, "the model's files were deleted by mainspring gc")
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return
            raise MainspringError(f"MLflow does not delete the artifacts of run {run}: {error.message}") from error
        except NotImplementedError as error:
            raise MainspringError(f"the artifact store of run {run} does not delete") from error

    def model_bytes(self, run: str) -> int:
        """Size of the model's files in a run's artifacts; 0 where there are none."""
        from mlflow.exceptions import MlflowException

        client, total, left = self._tracking.client(), 0, [ARTIFACT]
        try:
            while left:
                for one in client.list_artifacts(run, left.pop()):
                    if one.is_dir:
                        left.append(one.path)
                    else:
                        total += int(one.file_size or 0)
        except MlflowException:
            return 0
        return total

    def _version(self, version: str) -> ModelVersion:
        found = next((one for one in self.versions() if one.version == version), None)
        if found is None:
            there = ", ".join(one.version for one in self.versions()) or "none yet"
            raise NotFound(f"there is no version {version!r} of {self._name}", valid=there)
        return found

    def _read(self) -> list[ModelVersion]:
        from mlflow.exceptions import MlflowException

        client = self._tracking.client()
        try:
            aliases: dict[str, str] = dict(client.get_registered_model(self._name).aliases)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                # No answer is not the answer that there is nothing: a version would be trained, or its files deleted.
                raise TemporaryError(f"MLflow does not answer: {error.message}") from error
            return []
        found = []
        for one in client.search_model_versions(f"name = '{self._name}'", max_results=10_000):
            tags = dict(one.tags)
            if _RUN_ID not in tags:
                continue  # registered by somebody else: it has no card, and cannot be served
            version = str(one.version)
            if version not in self._facts:
                self._facts[version] = self._fact(version)
            found.append(
                replace(
                    self._facts[version],
                    version=version,
                    aliases=tuple(sorted(name for name, at in aliases.items() if str(at) == version)),
                    tags=tags,
                    approver=tags.get(f"{_PREFIX}approver", self._facts[version].approver),
                    created_at=datetime.fromtimestamp(one.creation_timestamp / 1000, UTC),
                )
            )
        return sorted(found, key=lambda one: int(one.version))

    def _fact(self, version: str) -> ModelVersion:
        with tempfile.TemporaryDirectory() as folder:
            path = self._download(version, VERSION_FILE, Path(folder))
            return from_json(ModelVersion, path.read_bytes())

    def _download(self, version: str, name: str, target: Path) -> Path:
        source = self._tracking.client().get_model_version(self._name, version).source
        return self._downloaded(f"{source}/{name}", target)

    def _downloaded(self, uri: str, target: Path) -> Path:
        from mlflow.artifacts import download_artifacts

        return Path(download_artifacts(artifact_uri=uri, dst_path=str(target), tracking_uri=self._tracking.uri))

    def _ensure_model(self) -> None:
        from mlflow.exceptions import MlflowException

        client = self._tracking.client()
        try:
            client.get_registered_model(self._name)
        except MlflowException:
            try:
                client.create_registered_model(self._name)
            except MlflowException:
                client.get_registered_model(self._name)  # somebody else was first

    def _describe(self, draft: ModelVersion, folder: Path, run: str) -> None:
        """`MLmodel`, so that `mlflow.pyfunc.load_model` answers as the predictor does, without pickle."""
        from mlflow.models import Model, ModelSignature
        from mlflow.types import ColSpec, Schema

        kinds = {"int": "double", "float": "double", "bool": "boolean"}
        inputs = Schema(
            [
                ColSpec(kinds.get(one.type, "string"), one.name, required=not one.nullable)
                for one in draft.signature.features
            ]
        )
        model = Model(signature=ModelSignature(inputs, Schema([ColSpec("double", "prediction")])), run_id=run)
        model.add_flavor("python_function", loader_module=_LOADER, data="model", env={"virtualenv": "python_env.yaml"})
        model.add_flavor("mainspring", format=draft.format, data="model")
        (folder / "python_env.yaml").write_text("python: '3.11'\ndependencies:\n- mainspring\n", encoding="utf-8")
        model.save(str(folder / "MLmodel"))


def features_in_words(features: Mapping[str, str]) -> str:
    """Feature views with the digest of each.

    >>> features_in_words({"weather": "ab12", "delays": "cd34"})
    'delays@cd34, weather@ab12'
    """
    return ", ".join(f"{name}@{digest}" for name, digest in sorted(features.items()))


def folder_digest(folder: Path) -> str:
    """SHA-256 over the files' names and contents, in order of their names."""
    hasher = hashlib.sha256()
    for path in sorted(one for one in folder.rglob("*") if one.is_file() and "__pycache__" not in one.parts):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        hasher.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return hasher.hexdigest()


def answers_of(numbers: Sequence[Sequence[float]]) -> Any:
    """A predictor's tuples as [rows] or [rows, classes]."""
    import numpy as np

    found = np.array(numbers, np.float64)
    return found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found
