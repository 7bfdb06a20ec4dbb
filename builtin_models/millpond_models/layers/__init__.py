"""Layers shared by the models. Not a public API: it may change in any release."""
