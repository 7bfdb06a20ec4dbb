"""Declaration of a command: a function whose parameters are options, or dataclasses of options that it shares."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from functools import wraps
from typing import Any

import typer
from typer.core import TyperCommand

from millpond_command.cli import QuickGroup

Function = Callable[..., None]


class GroupedCommand(TyperCommand):
    """A command whose help shows its options under headings, without Rich: that takes as long as all the rest."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and options, each under the heading of its panel."""
        panels: dict[str, list[Any]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            if parameter.param_type_name == "argument":
                panels.setdefault("Arguments", []).append((record[0].partition(" <")[0], record[1]))
            else:
                panels.setdefault(getattr(parameter, "rich_help_panel", None) or "Options", []).append(record)
        for heading, records in panels.items():
            with formatter.section(heading):
                formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  the signature is typer's
        """Write the examples, a line each, as they are: a command line that is wrapped cannot be copied."""
        if self.epilog:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}\n" for line in self.epilog.splitlines()))


def new_app() -> typer.Typer:
    """An app for one command, or for a group of them."""
    return typer.Typer(cls=QuickGroup, rich_markup_mode=None, add_completion=False, no_args_is_help=True)


def option(panel: str, *names: str, metavar: str | None = None, least: float | None = None, help: str) -> Any:  # noqa: A002
    """An option, under the heading that help shows it with."""
    return typer.Option(*names, metavar=metavar, min=least, help=help, rich_help_panel=panel)


def command(
    app: typer.Typer,
    name: str | None = None,
    *,
    examples: Sequence[str] = (),
    short_help: str | None = None,
    kind: type[GroupedCommand] = GroupedCommand,
) -> Callable[[Function], Function]:
    """Declare a command of an app.

    A parameter whose type is a dataclass stands for the options that its fields are: these are declared once, and
    every command that takes the dataclass has them. The function is called with the dataclass filled in.

    Args:
        app: The app.
        name: The name of the command; by default that of the function.
        examples: Command lines that its help ends with.
        short_help: Its line in the list of a group's commands; by default the first of its docstring.
        kind: The class of the command.
    """

    def declare(function: Function) -> Function:
        register = app.command(name, cls=kind, epilog="\n".join(examples) or None, short_help=short_help)
        return register(_with_options_of_groups(function))

    return declare


def _with_options_of_groups(function: Function) -> Function:
    """Return the function in the form that typer reads: with the fields of each group in its place."""
    signature = inspect.signature(function)
    groups: dict[str, Any] = {
        it.name: it.annotation for it in signature.parameters.values() if is_dataclass(it.annotation)
    }
    fields = {name: inspect.signature(group).parameters for name, group in groups.items()}
    flat = [
        field for it in signature.parameters.values() for field in fields.get(it.name, {it.name: it}).values()
    ]  # fmt: skip

    @wraps(function)
    def filled(**given: Any) -> None:
        own = {name: group(**{field: given.pop(field) for field in fields[name]}) for name, group in groups.items()}
        function(**given, **own)

    vars(filled)["__signature__"] = signature.replace(parameters=flat)
    filled.__annotations__ = {it.name: it.annotation for it in flat}
    return filled
