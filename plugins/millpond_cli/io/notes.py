"""Warnings of a command on stderr."""

from millpond_command.cli import echo_stderr


def warn(message: str) -> None:
    """Print a warning to stderr."""
    echo_stderr(f"warning: {message}")
