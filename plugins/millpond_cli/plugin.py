"""The records of the built-in commands."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond_command.kinds import CommandSpec

SUMMARIES = {
    "Run models": {
        "embed": "Embed texts or images as vectors.",
        "rerank": "Rank documents by relevance to a query.",
        "search": "Search a file or folder for similar passages.",
        "score": "Score pairs of a query and a document.",
        "classify": "Classify texts or their tokens.",
        "encode": "Run any pooling task and write its raw output.",
        "similarity": "Compare texts by cosine similarity.",
    },
    "Examine models": {
        "inspect": "Show the settings of a model and where each came from.",
        "canary": "Check that a model still answers texts as before.",
        "bench": "Measure the speed of a model on this machine.",
    },
    "Manage the installation": {
        "config": "Show the options that configuration files set.",
        "env": "Show versions, the processor and the kernels in use.",
        "plugins": "List, check and create plugins; list kernels.",
    },
}


@hookimpl
def register_commands() -> Iterator[CommandSpec]:
    """Yield the built-in commands."""
    for group, summaries in SUMMARIES.items():
        for name, summary in summaries.items():
            yield CommandSpec(name=name, target=f"millpond_cli.commands.{name}:app", summary=summary, group=group)
