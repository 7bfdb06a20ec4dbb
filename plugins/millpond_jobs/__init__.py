"""Bulk jobs: millions of rows through a model into a folder of shards, which survives a crash.

`Recipe` describes the work, `Runner` does it for one Arrow table, `run` does it for files. Needs the extra `jobs`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from millpond_jobs.cluster import run_on_cluster as run_on_cluster
    from millpond_jobs.exports import export as export
    from millpond_jobs.folder.folder import JobFolder as JobFolder
    from millpond_jobs.job import JobResult as JobResult
    from millpond_jobs.job import run as run
    from millpond_jobs.retrying import retry as retry
    from millpond_jobs.state import JobStatus as JobStatus
    from millpond_jobs.state import status as status
    from millpond_jobs.verification import verify as verify
    from millpond_recipes.recipe import Recipe as Recipe
    from millpond_recipes.runner import Runner as Runner
else:
    _HOME = {
        "JobFolder": "millpond_jobs.folder.folder",
        "JobResult": "millpond_jobs.job",
        "JobStatus": "millpond_jobs.state",
        "Recipe": "millpond_recipes.recipe",
        "Runner": "millpond_recipes.runner",
        "export": "millpond_jobs.exports",
        "retry": "millpond_jobs.retrying",
        "run": "millpond_jobs.job",
        "run_on_cluster": "millpond_jobs.cluster",
        "status": "millpond_jobs.state",
        "verify": "millpond_jobs.verification",
    }
    __all__ = list(_HOME)

    def __getattr__(name: str) -> object:
        """Import a public name at its first use: torch and pyarrow are not imported with the package."""
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOME[name]), name)

    def __dir__() -> list[str]:
        return [*globals(), *__all__]
