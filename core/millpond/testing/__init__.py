"""The test kit for plugin authors: pytest fixtures, conformance classes, tiny checkpoints and other helpers.

This module imports nothing, since pytest imports ``millpond.testing.fixtures``, and so this package, at every start.
"""
