"""``millpond similarity``: compares texts by the cosine similarity of their vectors."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from millpond.types.errors import InvalidInputError
from millpond_cli import options
from millpond_cli.arguments import call_arguments, load_model
from millpond_cli.io.source import refuse_files
from millpond_command import declare
from millpond_command.cli import USAGE, CommandError, echo
from millpond_command.model_options import RunOptions
from millpond_command.tables import is_terminal, tab_separated, table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from millpond.llm import LLM

MIN_TEXTS = 2
TOO_LONG = "maximum context length"
EXAMPLES = (
    'millpond similarity "a cup of tea" "a mug of coffee" "a flat tyre"',
    'millpond similarity --matrix --json "a cup of tea" "a mug of coffee" "a flat tyre"',
)

app = declare.new_app()

ComparedTexts = Annotated[list[str], typer.Argument(metavar="TEXT", help="The texts, two or more.", show_default=False)]
Matrix = Annotated[
    bool, declare.option("Output", "--matrix", help="Compare all pairs of texts, instead of the first with the others.")
]


@declare.command(app, examples=EXAMPLES)
def similarity(
    *,
    texts: ComparedTexts,
    matrix: Matrix = False,
    as_json: options.AsJson = False,
    model: options.ModelOption = options.DEFAULT_MODEL,
    run_options: RunOptions,
    call_options: options.CallOptions,
) -> None:
    """Compare texts by cosine similarity.

    The first text is compared with each of the others. The similarity is 1 for vectors of the same direction and 0 for
    orthogonal vectors. The output is a table on a terminal, and tab-separated values elsewhere.
    """
    if len(texts) < MIN_TEXTS:
        message = f"expected at least {MIN_TEXTS} texts, got {len(texts)}"
        raise CommandError(message, hint="quote each text", exit_code=USAGE)
    refuse_files(texts, option=None)
    arguments = call_arguments(call_options)
    with load_model(model, run_options) as llm:
        scores = _cosines(llm, texts, arguments)
    if as_json:
        shown: Any = scores.tolist() if matrix else scores[0, 1:].tolist()
        echo(json.dumps({"model": model, "similarity": "cosine", "texts": texts, "scores": shown}, ensure_ascii=False))
    else:
        echo(_matrix(texts, scores) if matrix else _list(texts, scores))


def _cosines(llm: "LLM", texts: list[str], arguments: dict[str, Any]) -> "NDArray[Any]":
    """Return the cosine similarity of each pair of texts, [num_texts, num_texts]."""
    import numpy as np  # noqa: PLC0415  not needed by --help

    try:
        outputs = llm.encode(texts, pooling_task="embed", use_tqdm=False, **arguments)
    except InvalidInputError as error:
        if error.index is None:
            raise
        hint = "--truncate truncates long texts" if TOO_LONG in error.message else ""
        raise CommandError(f"text {error.index + 1}: {error.message}", hint=hint) from error
    vectors = np.stack([output.outputs.array for output in outputs]).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.round(vectors @ vectors.T, 6)


def _list(texts: Sequence[str], scores: "NDArray[Any]") -> str:
    if not is_terminal():
        return tab_separated([[f"{score:.6f}", text] for text, score in zip(texts[1:], scores[0, 1:], strict=True)])
    rows = [[f"{score:.4f}", text] for text, score in zip(texts[1:], scores[0, 1:], strict=True)]
    return table([["", texts[0]], *rows], right=[0])


def _matrix(texts: Sequence[str], scores: "NDArray[Any]") -> str:
    numbers = [str(number) for number in range(1, len(texts) + 1)]
    if not is_terminal():
        return tab_separated([["text", *texts], *_rows(texts, scores, 6)])
    rows = [[number, *cells[1:], cells[0]] for number, cells in zip(numbers, _rows(texts, scores, 4), strict=True)]
    return table([["", *numbers, ""], *rows], right=range(len(texts) + 1))


def _rows(texts: Sequence[str], scores: "NDArray[Any]", digits: int) -> list[list[str]]:
    return [[text, *(f"{score:.{digits}f}" for score in row)] for text, row in zip(texts, scores, strict=True)]
