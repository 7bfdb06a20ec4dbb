"""Rendering of chat templates and conversations."""
