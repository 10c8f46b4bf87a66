"""Telemetry: the registry of metric names, structured logs, run and request ids."""
