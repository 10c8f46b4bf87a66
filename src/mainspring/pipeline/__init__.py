"""The six steps: ingest, validate, engineer, train, evaluate, register; plain functions over ports."""
