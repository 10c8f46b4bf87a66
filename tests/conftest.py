"""What a test leaves of MLflow's own state in this process would be the next one's."""

import sys

import pytest


@pytest.fixture(autouse=True)
def mlflow_forgets():
    yield
    if "mlflow" not in sys.modules:
        return
    import mlflow
    from mlflow.environment_variables import MLFLOW_EXPERIMENT_ID
    from mlflow.tracking import fluent

    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri("")
    fluent._active_experiment_id = None
    MLFLOW_EXPERIMENT_ID.unset()
