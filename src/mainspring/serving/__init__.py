"""The predictor: a process per model version that answers OIP v2, by REST and gRPC, and KServe v1. HTTP statuses and gRPC
codes live here."""
