"""Millpond Geo: a model that reads satellite tiles, and the IO processor that makes masks of what it gives."""
