"""Processes on this machine: predictors, started, watched and found again."""
