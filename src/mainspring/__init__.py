"""mainspring."""
