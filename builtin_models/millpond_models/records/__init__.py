"""Helpers for the records of model families. Imports no torch: ``specs.py`` of each family uses them."""
