"""Decoders: one folder per family with its model, its specs and its published models."""
