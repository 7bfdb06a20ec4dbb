"""Errors of bulk jobs."""

from millpond.types.errors import MillpondError


class JobError(MillpondError):
    """A job cannot start or continue; results that were written before are kept."""


class RecipeMismatchError(JobError):
    """The folder holds a job with a different recipe, model or input."""


class ShardError(JobError):
    """A shard in the folder is damaged."""
