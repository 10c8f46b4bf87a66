"""The stores that rows of a log are sent to."""

import uuid

import pytest
from tests import object_store
from tests.adapters.sinks.sending import Project


@pytest.fixture(scope="session")
def s3():
    with object_store.running() as store:
        yield store


@pytest.fixture(scope="session")
def bucket(s3):
    return s3.bucket("logs")


@pytest.fixture
def project(tmp_path, s3, bucket):
    return Project(tmp_path / "project", f"s3://{bucket}/{uuid.uuid4().hex}/churn", s3.settings())
