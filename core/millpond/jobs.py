"""Bulk jobs, under the name that programs import: the plugin `millpond_jobs` contains them. Needs the extra `jobs`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from millpond_jobs import JobFolder, JobResult, JobStatus, Recipe, Runner, export, retry, run, status, verify

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
    """Import a public name at its first use: the core must not import plugins with its modules."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("millpond_jobs"), name)
