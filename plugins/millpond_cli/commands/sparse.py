"""``millpond embed --sparse``: how sparse vectors are asked for, and written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

from millpond_cli.arguments import for_call
from millpond_cli.ask import Ask
from millpond_cli.io.formats import RECORDS, TABLE, choose_format, plain_format
from millpond_cli.io.notes import Progress
from millpond_cli.io.rows import Row
from millpond_cli.io.tables import table
from millpond_cli.options import Asking, Writing
from millpond_cli.stream import Input, Work, run, write_results, written_whole
from millpond_command.cli import USAGE, CommandError
from millpond_command.declare import option

if TYPE_CHECKING:
    from collections.abc import Iterable

    from millpond.llm import LLM
    from millpond.types.outputs import PoolingRequestOutput
    from millpond_cli.io.writers import Result

FORMATS = (TABLE, *RECORDS)
TOLD = 8  # terms of a text in a table


@dataclass(frozen=True, kw_only=True)
class Sparsely:
    """Whether vectors are sparse, and which of their weights are told."""

    sparse: Annotated[
        bool, option("Pooling", "--sparse", help="Give weights of tokens of the vocabulary, of models such as SPLADE.")
    ] = False
    max_active_dims: Annotated[
        int | None, option("Pooling", "--max-active-dims", metavar="N", least=1, help="Of these, keep the N heaviest.")
    ] = None
    with_tokens: Annotated[
        bool, option("Output", "--with-tokens", help="Write the tokens of sparse vectors as text beside their ids.")
    ] = False

    def check(self, **others: object) -> None:
        """Refuse options that mean nothing for such vectors, or for other ones.

        Args:
            **others: Those of other vectors with their values, None where they were not given.

        Raises:
            CommandError: One was given.
        """
        own = {"max-active-dims": self.max_active_dims, "with-tokens": self.with_tokens or None}
        wrong = next((name for name, value in (others if self.sparse else own).items() if value is not None), None)
        if wrong is None:
            return
        if self.sparse:
            raise CommandError(f"--{wrong} is not for sparse vectors", hint="leave out --sparse", exit_code=USAGE)
        raise CommandError(f"--{wrong} is for sparse vectors", hint="--sparse asks for them", exit_code=USAGE)

    def asking(self, typed: Asking, input_type: str | None) -> Ask:
        """Ask for the weights of tokens of the vocabulary, with the tokens as text."""
        options = {**for_call(typed), "input_type": input_type, "max_active_dims": self.max_active_dims}

        def ask(llm: "LLM", rows: Sequence[Row], progress: Progress) -> "Sequence[PoolingRequestOutput[Any]]":
            texts, shown = [row.text for row in rows], progress.of(len(rows))
            return llm.embed_sparse(texts, return_tokens=True, use_tqdm=shown, on_error="return", **options)

        return ask


def choose_sparse_format(asked: str | None, writing: Writing) -> str:
    """The format that was asked for, else by the name of the file; else a table for a person."""
    return choose_format(asked, writing.output_path, FORMATS, plain=plain_format(writing.output_path))


def write_sparse(source: Input, work: Work, path: str | None, kind: str, beside: Mapping[str, bool]) -> None:
    """Read, compute, write.

    Args:
        source: Where texts come from.
        work: What is done with them.
        path: The file; None or ``-`` for stdout.
        kind: The format.
        beside: What is written beside the weights: "text", "id", "error", "tokens".
    """

    def sink(_: "LLM", chunks: "Iterable[list[Result]]") -> None:
        if kind == TABLE:
            _write_table(file, chunks)
            return
        from millpond_cli.io.contents import Weights  # noqa: PLC0415  needs numpy; --help does not
        from millpond_cli.io.writers import Layout  # noqa: PLC0415  as above

        layout = Layout(
            with_text=beside["text"],
            with_id=beside["id"],
            with_error=beside["error"],
            content=Weights(with_tokens=beside["tokens"]),
        )
        write_results(file, kind, layout, chunks)

    with written_whole(path) as file:
        run(source, work, sink)


def _write_table(file: BinaryIO, chunks: "Iterable[list[Result]]") -> None:
    """The number of a text, how many terms it has, and the heaviest of these with their weights."""
    rows = [["NO", "TERMS", "HEAVIEST"]]
    for result in (result for results in chunks for result in results if not result.error):
        names = dict(zip(result.value.indices.tolist(), result.value.tokens, strict=True))
        heaviest = ", ".join(f"{names[token]} {weight:.2f}" for token, weight in result.value.top(TOLD))
        rows.append([str(result.row.index + 1), str(result.value.num_terms), heaviest])
    file.write(f"{table(rows, right=(0, 1))}\n".encode("utf-8", "backslashreplace"))
