"""Files of a job folder: errors of the file system become errors of jobs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from millpond_jobs.errors import JobError


@contextmanager
def stating_failures(action: str, path: Path) -> Iterator[None]:
    """Turn an error of the file system into a `JobError` that names the file, such as for a full disk.

    Raises:
        JobError: If the body raises OSError.
    """
    try:
        yield
    except OSError as error:
        advice = "remove it by hand" if isinstance(error, IsADirectoryError) else "finished shards are kept"
        message = f"cannot {action} {path}: {error.strerror or error}; {advice}, then run the job again"
        raise JobError(message) from error
