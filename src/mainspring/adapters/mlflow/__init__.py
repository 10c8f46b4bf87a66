"""MLflow: tracking and registry."""

import os

# As with Great Expectations: nothing that runs here reports to anybody.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
