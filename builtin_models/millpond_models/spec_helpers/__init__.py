"""Helpers for the ``specs.py`` of model families. Imports no torch."""
