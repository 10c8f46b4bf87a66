"""One S3 for all adapters that ask for it: it takes seconds to start."""

import pytest
from tests import object_store


@pytest.fixture(scope="session")
def s3():
    with object_store.running() as store:
        yield store


@pytest.fixture(scope="session")
def bucket(s3):
    return s3.bucket("logs")
