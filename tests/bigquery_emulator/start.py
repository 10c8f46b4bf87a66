"""Starts the emulator without its geography functions: their part of DuckDB would be downloaded, and nothing here asks for it."""

import sys

from bqemulator.cli import main
from bqemulator.storage.engine import DuckDBEngine

DuckDBEngine._load_spatial = lambda self: None
main(sys.argv[1:])
