"""``millpond classify --tokens``: the options and the runner of entity extraction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from millpond_cli.io.rows import Row
from millpond_cli.options import CallOptions
from millpond_cli.row_runners import RowRunner, method_runner
from millpond_command.cli import USAGE, CommandError
from millpond_command.declare import option

AGGREGATIONS = ("none", "simple", "first", "average", "max")


@dataclass(frozen=True, kw_only=True)
class EntityOptions:
    """Options for entity extraction."""

    tokens: Annotated[
        bool,
        option(
            "Pooling",
            "--tokens",
            help="Extract entities, with a token classification model (jsonl, json and parquet only).",
        ),
    ] = False
    aggregation: Annotated[
        str | None,
        option(
            "Pooling",
            "--aggregation",
            metavar="STRATEGY",
            help=f"The aggregation of tokens to entities: {', '.join(AGGREGATIONS)}. (default: simple)",
        ),
    ] = None

    def check(self, file_format: str, **class_options: object) -> None:
        """Check that no option contradicts ``--tokens``.

        Args:
            file_format: The output format.
            **class_options: The values of options that only apply to classes; None if they are not set.

        Raises:
            CommandError: An option is set that does not apply.
        """
        if not self.tokens:
            if self.aggregation is not None:
                raise CommandError("--aggregation requires --tokens", exit_code=USAGE)
            return
        if self.aggregation not in {None, *AGGREGATIONS}:
            message = f"--aggregation {self.aggregation}: expected one of {', '.join(AGGREGATIONS)}"
            raise CommandError(message, exit_code=USAGE)
        conflict = next((name for name, value in class_options.items() if value is not None), None)
        if conflict is not None:
            message = f"--{conflict} and --tokens cannot be used together"
            raise CommandError(message, hint="remove one of them", exit_code=USAGE)
        if file_format == "csv":
            message = "entities (--tokens) cannot be written as csv"
            raise CommandError(message, hint="use --format jsonl or json", exit_code=USAGE)

    def runner(self, call_options: CallOptions) -> RowRunner:
        """Return a runner that extracts entities."""
        return method_runner("entities", call_options, _texts, aggregation=self.aggregation or "simple")


def _texts(rows: Sequence[Row]) -> tuple[object, ...]:
    pair = next((row for row in rows if row.text_pair is not None), None)
    if pair is not None:
        message = f"{pair.location} has a second text, which --tokens does not support"
        raise CommandError(message, exit_code=USAGE)
    return ([row.text for row in rows],)
