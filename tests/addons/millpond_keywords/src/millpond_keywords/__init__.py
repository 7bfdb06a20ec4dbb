"""Millpond Keywords: a task with options, a method of LLM and an output type."""
