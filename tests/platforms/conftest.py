"""Fixtures: the small project of `towns`, with MLflow's tables already made."""

import shutil

import pytest

from mainspring.adapters.mlflow.tracking import Tracking
from mainspring.settings.load import load_project
from tests.platforms.towns import write_project


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """MLflow's database without anything in it: making its tables takes seconds."""
    folder = tmp_path_factory.mktemp("store")
    loaded = load_project(write_project(folder))
    Tracking(loaded.settings, loaded.paths).client().search_experiments()
    return loaded.paths.tracking_db


@pytest.fixture
def project(tmp_path, empty_store):
    """The project without views."""
    (tmp_path / ".mainspring").mkdir()
    shutil.copy(empty_store, tmp_path / ".mainspring" / "mlflow.db")
    return write_project(tmp_path)
