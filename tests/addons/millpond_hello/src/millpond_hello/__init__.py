"""Millpond Hello: a third-party pooler and architecture."""
