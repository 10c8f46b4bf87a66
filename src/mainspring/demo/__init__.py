"""`mainspring demo`: a year of New York flights replayed through the same loop that runs in production."""
