"""What a model version is made of: safe formats, export, parity and the signature."""
