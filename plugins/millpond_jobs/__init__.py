"""Bulk jobs: millions of rows through a model into a folder of shards, which survives a crash.

`Recipe` describes the work, `Runner` does it for one Arrow table, `run` does it for files. Needs the extra `jobs`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from millpond_jobs.exports import export
    from millpond_jobs.folder.folder import JobFolder
    from millpond_jobs.job import JobResult, run
    from millpond_jobs.recipe import Recipe
    from millpond_jobs.retrying import retry
    from millpond_jobs.runner import Runner
    from millpond_jobs.state import JobStatus, status
    from millpond_jobs.verification import verify

MODULES = {
    "JobFolder": "millpond_jobs.folder.folder",
    "JobResult": "millpond_jobs.job",
    "JobStatus": "millpond_jobs.state",
    "Recipe": "millpond_jobs.recipe",
    "Runner": "millpond_jobs.runner",
    "export": "millpond_jobs.exports",
    "retry": "millpond_jobs.retrying",
    "run": "millpond_jobs.job",
    "status": "millpond_jobs.state",
    "verify": "millpond_jobs.verification",
}
__all__ = [
    "JobFolder",
    "JobResult",
    "JobStatus",
    "Recipe",
    "Runner",
    "export",
    "retry",
    "run",
    "status",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: torch and pyarrow are not imported with the package."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(MODULES[name]), name)
