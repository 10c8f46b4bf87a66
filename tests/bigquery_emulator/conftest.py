collect_ignore = ["start.py"]
"""Runs in the environment of the emulator."""
