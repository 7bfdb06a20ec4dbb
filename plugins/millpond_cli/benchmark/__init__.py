"""Measurements of the speed of a model."""
