"""Errors of recipes and of their inputs."""

from millpond.types.errors import MillpondError


class RecipeError(MillpondError):
    """A recipe cannot be computed: its model does not serve it, or a row failed that may not fail."""


class FailedRowError(RecipeError):
    """A row failed that may not fail.

    Attributes:
        row: Its number in the table, from 0.
        reason: Why it failed.
    """

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(row, reason)
        self.row, self.reason = row, reason

    def __str__(self) -> str:
        return f"row {self.row}: {self.reason}"


class InputError(RecipeError):
    """An input cannot be used: it is missing, has changed, or lacks a column."""
