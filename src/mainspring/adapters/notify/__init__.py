"""Tells people: alerts in a file, an outbox that outlives its process, and the channels that it is sent through."""
