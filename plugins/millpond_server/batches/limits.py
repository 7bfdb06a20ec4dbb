"""Limits of files and batches."""

from dataclasses import dataclass

DAY_S = 86_400
MEBIBYTE, GIBIBYTE = 2**20, 2**30


@dataclass(frozen=True, kw_only=True)
class BatchLimits:
    """Limits of files and batches.

    Attributes:
        file_bytes: Maximum size of an uploaded file.
        files: Maximum number of files of one API key.
        stored_bytes: Maximum size of all files of one API key, and of the results of its running batches.
        batches: Maximum number of batches of one API key that have not ended.
        ended_batches: Number of ended batches of one API key that are kept.
        lines: Maximum number of lines in the file of a batch; None for no limit.
        line_bytes: Maximum size of a line.
        line_values: Maximum number of tokens that a line may need, for `has_too_many_values`.
        retention_s: Seconds after which files and ended batches are deleted.
        concurrency: Number of requests of all batches that run at the same time.
        concurrency_beside_live: The same while live requests run.
        uploads: Number of uploads at the same time.
        uploads_of_key: The same for one API key, so that slow uploads of one key do not keep others from uploading.
    """

    file_bytes: int = 200 * MEBIBYTE
    files: int = 500
    stored_bytes: int = 100 * GIBIBYTE
    batches: int = 500
    ended_batches: int = 10_000
    lines: int | None = 50_000
    line_bytes: int = 32 * MEBIBYTE
    line_values: int = 300_000
    retention_s: float = 30 * DAY_S
    concurrency: int = 16
    concurrency_beside_live: int = 2
    uploads: int = 8
    uploads_of_key: int = 4
