"""Parquet: the prediction log by event date and hour."""
