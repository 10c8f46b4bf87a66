"""Great Expectations: the project's expectations over a table."""
