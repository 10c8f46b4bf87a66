"""MLflow: tracking and registry."""

import os

# As with Great Expectations: nothing that runs here reports to anybody.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Progress is the platform's to show; copying a file on one disk is none.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
