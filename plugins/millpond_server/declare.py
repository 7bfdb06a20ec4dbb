"""How the command ``serve`` is declared: its options are fields of dataclasses, shown in help under headings."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import typer
from typer.core import TyperCommand

from millpond.cli import say
from millpond_server.spelling import respell


class ServeCommand(TyperCommand):
    """A command that takes the spellings of vLLM, and whose help shows its options under headings."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Respell what was typed, tell of what means nothing here, and parse it."""
        made = respell(args)
        if made.without_effect and not ctx.resilient_parsing:
            say(f"note: without effect here: {', '.join(made.without_effect)}")
        return super().parse_args(ctx, made.words)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and options, each under the heading of its panel."""
        panels: dict[str, list[Any]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            if parameter.param_type_name == "argument":
                panels.setdefault("Arguments", []).append(record)
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


def option(panel: str, *names: str, metavar: str | None = None, help: str) -> Any:  # noqa: A002
    """An option, under the heading that help shows it with."""
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel=panel)


def with_options(*groups: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a function the fields of dataclasses as options; it is called with the dataclasses filled in."""

    def declare(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function).parameters.values())[: -len(groups)]
        fields = [field for group in groups for field in inspect.signature(group).parameters.values()]

        @wraps(function)
        def filled(**given: Any) -> None:
            made = [
                group(**{name: given.pop(name) for name in inspect.signature(group).parameters}) for group in groups
            ]
            function(*(given[it.name] for it in own), *made)

        flat = [it.replace(kind=inspect.Parameter.KEYWORD_ONLY) for it in (*own, *fields)]
        vars(filled)["__signature__"] = inspect.signature(function).replace(parameters=flat)
        filled.__annotations__ = {it.name: it.annotation for it in flat}
        return filled

    return declare
