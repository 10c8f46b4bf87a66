import pytest

from tests.serving.models import write_model
from tests.serving.real import free_port, running
from tests.serving.served import Served

collect_ignore = ["peers"]
"""Runs in environments of its own."""


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "model"
    return folder, write_model(folder)


@pytest.fixture
def served(model, tmp_path):
    return Served(model, tmp_path)


@pytest.fixture(scope="session")
def process(model, tmp_path_factory):
    with running(model[0], tmp_path_factory.mktemp("process"), grpc_port=free_port()) as one:
        yield one
