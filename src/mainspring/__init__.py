"""mainspring: the machine-learning lifecycle as one loop that runs itself."""

__version__ = "0.1.0"
