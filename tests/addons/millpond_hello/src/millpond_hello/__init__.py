"""Millpond Hello: a pooler and an architecture that Millpond knows nothing of."""
