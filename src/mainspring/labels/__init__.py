"""Labels: what really happened, joined to predictions by request id once it is known."""
