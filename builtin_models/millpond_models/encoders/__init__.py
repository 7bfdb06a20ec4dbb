"""Encoders: one folder per family with its model, its records and its published models."""
