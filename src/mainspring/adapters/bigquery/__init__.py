"""BigQuery: hours of the prediction log. Its client is imported here alone, and only when it is asked for."""
