"""Features: transforms that compute a view's rows on a schedule, and the spine that training joins to."""
