"""Retraining policies: when a new model is worth asking for."""
