"""The records of the built-in commands."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import CommandSpec


@hookimpl
def register_commands() -> Iterator[CommandSpec]:
    """Run a model, inspect one, measure its speed, list and check plugins."""
    yield CommandSpec(name="embed", target="millpond_cli.commands.embed:app", summary="Turn texts into vectors.")
    yield CommandSpec(name="rerank", target="millpond_cli.commands.rerank:app", summary="Rank documents for a query.")
    yield CommandSpec(name="score", target="millpond_cli.commands.score:app", summary="Score queries with documents.")
    yield CommandSpec(
        name="classify", target="millpond_cli.commands.classify:app", summary="Classify texts or their tokens."
    )
    yield CommandSpec(
        name="encode", target="millpond_cli.commands.encode:app", summary="Compute the bare results of any task."
    )
    yield CommandSpec(
        name="similarity",
        target="millpond_cli.commands.similarity:app",
        summary="Compare texts by the cosine of their vectors.",
    )
    yield CommandSpec(
        name="inspect",
        target="millpond_cli.commands.inspect:app",
        summary="Show what a model is, and the file that each value came from.",
    )
    yield CommandSpec(
        name="bench", target="millpond_cli.commands.bench:app", summary="Measure the speed of a model on this machine."
    )
    yield CommandSpec(
        name="plugins", target="millpond_cli.commands.plugins:app", summary="List and check plugins and kernels."
    )
