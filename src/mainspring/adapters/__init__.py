"""Adapters: one package per tool; a vendor's types stay inside it.

An adapter implements ports and may import stages, ports, settings, telemetry and the domain; never the loop, a
platform or another adapter.
"""
