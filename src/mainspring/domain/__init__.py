"""Nouns of the platform: frozen, typed, without I/O; every other room speaks in these.

Forbidden here: files, sockets, clocks, environment variables, and any vendor's type.
"""
