"""Performance: the task's metrics over blocks of time, with intervals."""
