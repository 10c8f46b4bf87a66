"""Settings: `mainspring.yaml` as typed data, and the only place that reads environment variables."""
