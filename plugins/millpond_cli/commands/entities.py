"""``millpond classify --tokens``: the options and the calls of entities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from millpond_cli import asking
from millpond_cli.io.rows import Row
from millpond_cli.options import Asking
from millpond_command.cli import USAGE, CommandError
from millpond_command.declare import option

WAYS = ("none", "simple", "first", "average", "max")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Options of entities."""

    tokens: Annotated[
        bool,
        option("Pooling", "--tokens", help="Find entities, by models that classify tokens; with jsonl and json."),
    ] = False
    aggregation: Annotated[
        str | None,
        option("Pooling", "--aggregation", metavar="WAY", help=f"How tokens become entities: {', '.join(WAYS)}."),
    ] = None

    def check(self, kind: str, **others: object) -> None:
        """Refuse options that have no meaning for entities, or for classes.

        Args:
            kind: The format.
            **others: The options of classes with their values, None where they were not given.

        Raises:
            CommandError: One was given.
        """
        if not self.tokens:
            if self.aggregation is not None:
                raise CommandError("--aggregation is for entities", hint="--tokens asks for them", exit_code=USAGE)
            return
        if self.aggregation not in {None, *WAYS}:
            message = f"--aggregation {self.aggregation}: expected one of {', '.join(WAYS)}"
            raise CommandError(message, exit_code=USAGE)
        wrong = next((name for name, value in others.items() if value is not None), None)
        if wrong is not None:
            message = f"--{wrong} is for classes, and --tokens gives entities"
            raise CommandError(message, hint="leave one of them out", exit_code=USAGE)
        if kind == "csv":
            message = "csv holds the classes of texts, and --tokens gives entities"
            raise CommandError(message, hint="--format jsonl or json holds them", exit_code=USAGE)

    def asking(self, typed: Asking) -> asking.Ask:
        """Ask for the entities in texts."""
        return asking.asking("entities", typed, _texts, aggregation=self.aggregation or "simple")


def _texts(rows: Sequence[Row]) -> tuple[object, ...]:
    pair = next((row for row in rows if row.text_pair is not None), None)
    if pair is not None:
        message = f"{pair.place} has a second text, and --tokens reads single texts"
        raise CommandError(message, exit_code=USAGE)
    return ([row.text for row in rows],)
