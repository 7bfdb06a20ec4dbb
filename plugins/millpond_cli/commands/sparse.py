"""``millpond embed --sparse``: the options, the calls and the output of sparse vectors."""

from dataclasses import dataclass, replace
from typing import Annotated

from millpond_cli import asking
from millpond_cli.io.contents import Weights
from millpond_cli.io.formats import RECORDS, TABLE
from millpond_cli.io.results import Columns, Layout, Result
from millpond_cli.options import Asking
from millpond_command.cli import USAGE, CommandError
from millpond_command.declare import option

SPARSE_FORMATS = (TABLE, *RECORDS)
SHOWN_TERMS = 8  # of a text in a table


@dataclass(frozen=True, kw_only=True)
class Sparsely:
    """Options of sparse vectors."""

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
        """Refuse options that have no meaning for sparse vectors, or for dense ones.

        Args:
            **others: The options of dense vectors with their values, None where they were not given.

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

    def asking(self, typed: Asking, input_type: str | None) -> asking.Ask:
        """Ask for the weights of tokens of the vocabulary, with the tokens as text."""
        return asking.asking(
            "embed_sparse",
            typed,
            lambda rows: ([row.text for row in rows],),
            input_type=input_type,
            max_active_dims=self.max_active_dims,
            return_tokens=True,
        )

    def layout(self, layout: Layout) -> Layout:
        """Return a layout with the weights; in a table, with the terms of the greatest ones."""
        columns = Columns(heading=("NO", "TERMS", "HEAVIEST"), row=_cells, right=(0, 1))
        return replace(layout, content=Weights(with_tokens=self.with_tokens), columns=columns)


def _cells(result: Result) -> list[str]:
    """Return the number of a text, how many terms it has, and the heaviest of these with their weights."""
    names = dict(zip(result.value.indices.tolist(), result.value.tokens, strict=True))
    heaviest = ", ".join(f"{names[token]} {weight:.2f}" for token, weight in result.value.top(SHOWN_TERMS))
    return [str(result.row.index + 1), str(result.value.num_terms), heaviest]
