"""Engines that count: the counts of a drift profile by SQL, pushed down to where the rows are. Only counts come back.

Ibis connects, knows the tables and their types, and writes each engine's SQL for the window; how an engine finds a
value's cell is in the module of that engine.
"""
