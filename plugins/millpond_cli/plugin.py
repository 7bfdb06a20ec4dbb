"""Names the commands that Millpond comes with."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import CommandSpec


@hookimpl
def register_commands() -> Iterator[CommandSpec]:
    """Use a model, compare with it, look into one, make it faster, look at the plugins."""
    yield CommandSpec(name="embed", target="millpond_cli.commands.embed:app", summary="Turn texts into vectors.")
    yield CommandSpec(
        name="rerank", target="millpond_cli.commands.rerank:app", summary="Put documents in order for a query."
    )
    yield CommandSpec(name="score", target="millpond_cli.commands.score:app", summary="Score queries with documents.")
    yield CommandSpec(
        name="classify", target="millpond_cli.commands.classify:app", summary="Say which class texts are of."
    )
    yield CommandSpec(
        name="encode", target="millpond_cli.commands.encode:app", summary="Give the bare results of any task."
    )
    yield CommandSpec(
        name="similarity", target="millpond_cli.commands.similarity:app", summary="Say how alike texts are."
    )
    yield CommandSpec(
        name="inspect",
        target="millpond_cli.commands.inspect:app",
        summary="Show what a model is, and which file says so.",
    )
    yield CommandSpec(
        name="bench", target="millpond_cli.commands.bench:app", summary="Measure the speed of a model on this machine."
    )
    yield CommandSpec(
        name="plugins", target="millpond_cli.commands.plugins:app", summary="List and check plugins and kernels."
    )
