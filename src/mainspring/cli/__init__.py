"""The command line: parses, calls, prints. No decision is taken here."""
