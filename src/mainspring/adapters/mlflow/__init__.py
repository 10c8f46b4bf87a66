"""MLflow: tracking and registry."""
