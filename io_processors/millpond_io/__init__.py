"""The IO processors of the built-in tasks."""
