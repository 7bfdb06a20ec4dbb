"""Declaration of commands: functions whose parameters are options, or dataclasses of shared options."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from functools import wraps
from typing import Any

import typer
from typer.core import TyperCommand
from typer.models import ParameterInfo

from millpond_command.cli import QuickGroup
from millpond_command.completion import BY_METAVAR

Function = Callable[..., None]


class GroupedCommand(TyperCommand):
    """A command whose help groups its options under headings, without Rich, which would double the time of help."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and options under the headings of their panels."""
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
        """Write the examples, one per line and not wrapped, so that they can be copied."""
        if self.epilog:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}\n" for line in self.epilog.splitlines()))


def new_app() -> typer.Typer:
    """Return an app for one command or for a group of commands."""
    return typer.Typer(cls=QuickGroup, rich_markup_mode=None, add_completion=False, no_args_is_help=True)


def option(panel: str, *names: str, metavar: str | None = None, least: float | None = None, help: str) -> Any:  # noqa: A002
    """Return an option.

    Args:
        panel: The heading under which help shows it.
        *names: Its spellings, such as ``--model`` and ``-m``.
        metavar: The name of its value in help.
        least: The minimum value.
        help: The help text.
    """
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

    A parameter whose type is a dataclass adds one option for each field, so that several commands can share options
    that are declared once. The function is called with an instance of the dataclass.

    Args:
        app: The app.
        name: The name of the command; by default, the name of the function.
        examples: Command lines that are shown at the end of its help.
        short_help: Its line in the list of commands of its group; by default, the first line of its docstring.
        kind: The class of the command.
    """

    def declare(function: Function) -> Function:
        register = app.command(name, cls=kind, epilog="\n".join(examples) or None, short_help=short_help)
        return register(_with_flat_options(function))

    return declare


def _complete_by_metavar(annotation: Any) -> None:
    """Let shells complete the values of an option or argument whose placeholder has known values."""
    for info in getattr(annotation, "__metadata__", ()):
        if isinstance(info, ParameterInfo) and info.autocompletion is None:
            info.autocompletion = BY_METAVAR.get(info.metavar or "")


def _with_flat_options(function: Function) -> Function:
    """Return the function with the signature that typer reads: each dataclass replaced by its fields."""
    signature = inspect.signature(function)
    groups: dict[str, Any] = {
        it.name: it.annotation for it in signature.parameters.values() if is_dataclass(it.annotation)
    }
    fields = {name: inspect.signature(group).parameters for name, group in groups.items()}
    flat = [field for it in signature.parameters.values() for field in fields.get(it.name, {it.name: it}).values()]
    for it in flat:
        _complete_by_metavar(it.annotation)

    @wraps(function)
    def grouped(**values: Any) -> None:
        instances = {
            name: group(**{field: values.pop(field) for field in fields[name]}) for name, group in groups.items()
        }
        function(**values, **instances)

    vars(grouped)["__signature__"] = signature.replace(parameters=flat)
    grouped.__annotations__ = {it.name: it.annotation for it in flat}
    return grouped
