"""The test kit for authors of plugins: pytest fixtures, which pytest finds by itself, and what else stands beside them.

Nothing is imported here: pytest imports ``millpond.testing.fixtures``, and with it this package, whenever it starts.
"""
