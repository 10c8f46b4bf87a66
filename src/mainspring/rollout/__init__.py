"""Rollouts: the rules by which a candidate takes traffic, is promoted or rolled back."""
