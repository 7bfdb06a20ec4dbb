"""A running server: its models, settings, state and engines."""
