"""``millpond embed --sparse``: the options, the runner and the layout of sparse vectors."""

from dataclasses import dataclass, replace
from typing import Annotated

from millpond_cli.io.formats import ROWS, TABLE
from millpond_cli.io.results import Columns, Layout, Result
from millpond_cli.io.serializers import SparseSerializer
from millpond_cli.options import CallOptions
from millpond_cli.row_runners import RowRunner, method_runner
from millpond_command.cli import USAGE, CommandError
from millpond_command.declare import option

SPARSE_FORMATS = (TABLE, *ROWS)
TERMS_IN_TABLE = 8


@dataclass(frozen=True, kw_only=True)
class SparseOptions:
    """Options for sparse vectors."""

    sparse: Annotated[
        bool, option("Pooling", "--sparse", help="Compute sparse vectors (token weights), with models such as SPLADE.")
    ] = False
    max_active_dims: Annotated[
        int | None,
        option("Pooling", "--max-active-dims", metavar="N", least=1, help="With --sparse: keep the N largest weights."),
    ] = None
    with_tokens: Annotated[
        bool, option("Output", "--with-tokens", help="With --sparse: include the tokens as text, besides their ids.")
    ] = False

    def check(self, **dense_options: object) -> None:
        """Check that no option contradicts ``--sparse`` or its absence.

        Args:
            **dense_options: The values of options that only apply to dense vectors; None if they are not set.

        Raises:
            CommandError: An option is set that does not apply.
        """
        sparse_options = {"max-active-dims": self.max_active_dims, "with-tokens": self.with_tokens or None}
        inapplicable = dense_options if self.sparse else sparse_options
        conflict = next((name for name, value in inapplicable.items() if value is not None), None)
        if conflict is None:
            return
        if self.sparse:
            message = f"--{conflict} and --sparse cannot be used together"
            raise CommandError(message, hint="remove one of them", exit_code=USAGE)
        raise CommandError(f"--{conflict} requires --sparse", exit_code=USAGE)

    def runner(self, call_options: CallOptions, input_type: str | None) -> RowRunner:
        """Return a runner that computes sparse vectors, with the tokens as text."""
        return method_runner(
            "embed_sparse",
            call_options,
            lambda rows: ([row.text for row in rows],),
            input_type=input_type,
            max_active_dims=self.max_active_dims,
            return_tokens=True,
        )

    def layout(self, layout: Layout) -> Layout:
        """Return the layout for sparse vectors; a table shows the terms with the largest weights."""
        columns = Columns(heading=("NO", "TERMS", "LARGEST WEIGHTS"), row=_cells, right=(0, 1))
        return replace(layout, serializer=SparseSerializer(with_tokens=self.with_tokens), columns=columns)


def _cells(result: Result) -> list[str]:
    """Return the number of a text, its number of terms, and the terms with the largest weights."""
    tokens = dict(zip(result.value.indices.tolist(), result.value.tokens, strict=True))
    largest = ", ".join(f"{tokens[token_id]} {weight:.2f}" for token_id, weight in result.value.top(TERMS_IN_TABLE))
    return [str(result.row.index + 1), str(result.value.num_terms), largest]
