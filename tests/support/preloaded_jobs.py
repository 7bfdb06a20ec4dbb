"""Imports what a job imports. A fork server that has imported it starts processes that compute at once."""

import contextlib
import importlib
import os

from millpond.plugin.manager import get_plugin_manager
from millpond_command import cli
from millpond_command.kinds import CommandSpec
from millpond_jobs.job import run

SHARD_ROWS = 4

with contextlib.suppress(ModuleNotFoundError):  # pyarrow imports it if it is installed
    importlib.import_module("pandas")
for entry in get_plugin_manager().registry.io_processors.entries():
    entry.load()
get_plugin_manager().registry[CommandSpec].find("job").load()
get_plugin_manager().registry.architectures.find("BertModel").load()


def run_job(source, folder, recipe):
    """Run a job; the target of processes that are killed. The fork server knows it without importing a test."""
    run(source, folder, recipe, shard_rows=SHARD_ROWS)


def run_command(arguments, stderr):
    """Run the program ``millpond``; its standard error goes to a file."""
    descriptor = os.open(stderr, os.O_WRONLY | os.O_CREAT)
    os.dup2(descriptor, 2)
    cli.app(arguments)
