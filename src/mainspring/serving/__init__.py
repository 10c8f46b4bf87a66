"""The predictor: a process per model version that answers OIP v2 and KServe v1. HTTP status codes live here."""
