"""Errors of recipes and of their inputs."""

from millpond.types.errors import MillpondError


class RecipeError(MillpondError):
    """A recipe cannot be computed: its model does not serve it, or a row failed that may not fail."""


class InputError(RecipeError):
    """An input cannot be used: it is missing, has changed, or lacks a column."""
