"""Imports what a job imports. A fork server that has imported it starts processes that compute at once."""

import contextlib
import importlib

import millpond_jobs.job  # noqa: F401
from millpond.plugin.manager import get_plugin_manager

with contextlib.suppress(ModuleNotFoundError):  # pyarrow imports it if it is installed
    importlib.import_module("pandas")
for entry in get_plugin_manager().registry.io_processors.entries():
    entry.load()
get_plugin_manager().registry.architectures.find("BertModel").load()
