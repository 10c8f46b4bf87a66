"""Envoy: the proxy that callers reach, its routes from a rollout, and what its access log tells."""
