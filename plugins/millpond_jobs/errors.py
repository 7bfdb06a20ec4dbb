"""Errors of bulk jobs."""

from millpond.types.errors import MillpondError


class JobError(MillpondError):
    """A job cannot start or continue; results that were written before are kept."""


class RecipeMismatchError(JobError):
    """The folder holds a job with a different recipe, model or input."""


class ShardError(JobError):
    """A shard in the folder is damaged, or belongs to a different job.

    Attributes:
        reason: What is wrong with it.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason
