"""Drift: profiles, KS, PSI, KL, and the report a person can read."""
