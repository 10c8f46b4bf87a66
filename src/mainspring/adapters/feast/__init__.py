"""Feast: an offline store that joins by ASOF, and the feature store over plain Feast objects."""

READER = "mainspring.adapters.feast.reader:FeastReader"
"""What reads online stores that predictors do not read directly."""
ON_DEMAND = "mainspring.adapters.feast.on_demand:open_views"
"""What opens a model's on-demand views. Both are named, not imported: Feast takes seconds, and few predictors need it."""
