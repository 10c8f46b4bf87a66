"""Templates: folders that `mainspring init` copies."""
