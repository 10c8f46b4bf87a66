"""Fixtures: the small project of `towns`, with MLflow's tables already made."""

import shutil

import pytest

from mainspring.adapters.kfp.worker import warm_worker
from mainspring.adapters.mlflow.tracking import Tracking
from mainspring.platforms.step import WARM
from mainspring.settings.load import load_project
from tests.platforms.towns import write_project


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """MLflow's database without anything in it: making its tables takes seconds."""
    folder = tmp_path_factory.mktemp("store")
    loaded = load_project(write_project(folder))
    Tracking(loaded.settings, loaded.paths).client().search_experiments()
    return loaded.paths.tracking_db


@pytest.fixture(scope="session")
def worker(tmp_path_factory):
    """A warm worker for every project that is linked to its folder: importing everything once is enough."""
    folder = tmp_path_factory.mktemp("worker")
    with warm_worker(folder, [name for name in WARM if ":" not in name]) as wait:
        assert wait(120)
        yield folder


@pytest.fixture
def warm(project, worker):
    """The project has a warm worker."""
    (project / ".mainspring" / "worker.sock").symlink_to(worker / "worker.sock")


@pytest.fixture
def project(tmp_path, empty_store):
    """The project without views."""
    (tmp_path / ".mainspring").mkdir()
    shutil.copy(empty_store, tmp_path / ".mainspring" / "mlflow.db")
    return write_project(tmp_path)
