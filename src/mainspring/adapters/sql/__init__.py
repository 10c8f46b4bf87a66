"""SQL: any URL that Ibis understands as a source, and the ledger on SQLite."""
