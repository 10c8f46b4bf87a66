"""Feast: an offline store that joins by ASOF, and the feature store over plain Feast objects."""
