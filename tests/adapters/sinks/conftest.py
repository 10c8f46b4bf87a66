"""The stores that rows of a log are sent to."""

import uuid

import pytest
from tests.adapters.sinks.sending import Project


@pytest.fixture
def project(tmp_path, s3, bucket):
    return Project(tmp_path / "project", f"s3://{bucket}/{uuid.uuid4().hex}/churn", s3.settings())
