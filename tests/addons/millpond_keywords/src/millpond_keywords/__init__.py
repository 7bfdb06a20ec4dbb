"""Millpond Keywords: a task with options and an output type of its own."""
