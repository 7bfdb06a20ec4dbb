"""``millpond classify --tokens``: how entities are asked for, and told."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from millpond_cli.arguments import for_call
from millpond_cli.ask import Ask
from millpond_cli.io.notes import Progress
from millpond_cli.io.rows import Row
from millpond_cli.options import Asking
from millpond_command.cli import USAGE, CommandError
from millpond_command.declare import option

if TYPE_CHECKING:
    from millpond.llm import LLM
    from millpond.types.outputs import Entity, PoolingRequestOutput
    from millpond_cli.io.writers import Result

WAYS = ("none", "simple", "first", "average", "max")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Whether entities are looked for, and how tokens become some."""

    tokens: Annotated[
        bool,
        option("Pooling", "--tokens", help="Find entities, by models that classify tokens; with jsonl and json."),
    ] = False
    aggregation: Annotated[
        str | None,
        option("Pooling", "--aggregation", metavar="WAY", help=f"How tokens become entities: {', '.join(WAYS)}."),
    ] = None

    def check(self, kind: str, **others: object) -> None:
        """Refuse options that mean nothing for entities, or for classes.

        Args:
            kind: The format.
            **others: Those of classes with their values, None where they were not given.

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

    def asking(self, typed: Asking) -> Ask:
        """Ask for the entities in texts."""
        options = {**for_call(typed), "aggregation": self.aggregation or "simple"}

        def ask(llm: "LLM", rows: Sequence[Row], progress: Progress) -> "Sequence[PoolingRequestOutput[Any]]":
            pair = next((row for row in rows if row.text_pair is not None), None)
            if pair is not None:
                message = f"{pair.place} has a second text, and --tokens reads single texts"
                raise CommandError(message, exit_code=USAGE)
            texts, shown = [row.text for row in rows], progress.of(len(rows))
            return llm.entities(texts, use_tqdm=shown, on_error="return", **options)

        return ask


class Entities:
    """The entities of a text, for JSON alone."""

    def json(self, result: "Result") -> str:
        """``"entities": [{"label": "PER", "score": 0.99, "start": 0, "end": 4, "text": "Anna"}, ...]``."""
        return f'"entities": [{", ".join(map(_told, result.value))}]'

    def columns(self, size: int) -> list[str]:  # noqa: ARG002  each text has as many as it has
        """``entities``."""
        return ["entities"]

    def cells(self, result: "Result") -> list[str]:
        """One cell, with JSON in it."""
        return [self.json(result).removeprefix('"entities": ')]


def _told(entity: "Entity") -> str:
    fields = {name: getattr(entity, name) for name in ("label", "score", "start", "end", "text")}
    return json.dumps({**fields, "score": float(f"{entity.score:.8g}")}, ensure_ascii=False)
