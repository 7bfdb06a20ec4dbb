"""``millpond rerank``: documents in order of their scores for a query."""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from heapq import nlargest
from typing import Annotated

import typer

from millpond_cli import options
from millpond_cli.asking import scoring
from millpond_cli.io.contents import Score
from millpond_cli.io.formats import RECORDS, TABLE, choose_format
from millpond_cli.io.pairs import with_query
from millpond_cli.io.results import Columns, Layout, Result
from millpond_cli.io.rows import check_action, choose_keys
from millpond_cli.io.source import choose_source, refuse_files
from millpond_cli.stream import Job
from millpond_command import declare
from millpond_command.model_options import Running

FORMATS = (TABLE, *RECORDS)
EXAMPLES = (
    'millpond rerank "how to dry tea" "Spread the leaves in the sun." "The tyre is flat." "Tea grows on hills."',
    'millpond rerank "how to dry tea" -i docs.txt --top-n 5',
    'millpond rerank -m openai/clip-vit-base-patch32 "a green pond" --image photos/*.jpg',
    'millpond rerank -m BAAI/bge-reranker-base "how to dry tea" -i docs.jsonl --text-key body -o ranked.jsonl',
)

app = declare.new_app()

Query = Annotated[str, typer.Argument(metavar="QUERY", help="The query.")]
Documents = Annotated[
    list[str] | None,
    typer.Argument(metavar="DOCUMENT", help="The documents; none, or - alone, for the lines of stdin."),
]
Images = Annotated[
    bool, declare.option("Input", "--image", help="Documents are the names of files of images: rank these.")
]
Format = Annotated[
    str | None,
    declare.option(
        "Output",
        "--format",
        "-f",
        metavar="FORMAT",
        help="table, jsonl, json or csv. (default: by the name of the file; on a terminal table, else jsonl)",
    ),
]
TopN = Annotated[
    int | None, declare.option("Output", "--top-n", "-n", metavar="N", least=1, help="Show only the N best documents.")
]


@declare.command(app, examples=EXAMPLES)
def rerank(
    *,
    query: Query,
    documents: Documents = None,
    reading: options.ReadingTexts,
    writing: options.Writing,
    images: Images = False,
    output_format: Format = None,
    top_n: TopN = None,
    model: options.ModelOption = options.DEFAULT_MODEL,
    running: Running,
    asking: options.Asking,
    pairing: options.Pairing,
) -> None:
    """Rank documents for a query.

    Documents are arguments, the lines of stdin, or the rows of a file. Each has its rank, its score, its
    place in the input and its text. With --top-n any number of them fits into memory. With --image they are the names
    of files, and the images in these are ranked, by models that read such.
    """
    skips = check_action(reading.on_error)
    refuse_files([query], option=None)
    if not images:
        refuse_files(documents or ())
    source = choose_source(documents or (), reading.input_path, reading.input_format, called="document")
    pairs = with_query(query, source, choose_keys(source, text_key=reading.text_key, id_key=reading.id_key))
    kind = choose_format(output_format, writing.output_path, FORMATS)
    ask = scoring(asking, pairing, of_images=images)
    job = Job(source=pairs, ask=ask, model=model, running=running, writing=writing, skips=skips)
    job.write(kind, lambda _: _layout(with_id=source.has_fields), partial(in_order, top=top_n))


def in_order(results: Iterable[Result], top: int | None) -> list[Result]:
    """Return the results with a score, the greatest first, with their ranks; equal ones keep their order.

    Args:
        results: Those of all documents.
        top: The number of results that are kept; None for all.
    """
    scored = (replace(result, token_ids=()) for result in results if not result.error)  # what is kept is small
    best = sorted(scored, key=_score, reverse=True) if top is None else nlargest(top, scored, key=_score)
    return [replace(result, rank=rank) for rank, result in enumerate(best, start=1)]


def _score(result: Result) -> float:
    return float(result.value)


def _layout(*, with_id: bool) -> Layout:
    """Return what is written: in a table, rank, score, id or number, and the text."""
    columns = Columns(
        heading=("RANK", "SCORE", "ID" if with_id else "NO", "DOCUMENT"),
        row=lambda it: [
            str(it.rank),
            f"{_score(it):.4f}",
            str(it.row.id if with_id else it.row.index + 1),
            it.row.text,
        ],
        right=(0, 1) if with_id else (0, 1, 2),
    )
    return Layout(
        with_text=True, with_id=with_id, content=Score(), texts=("document",), with_rank=True, columns=columns
    )
