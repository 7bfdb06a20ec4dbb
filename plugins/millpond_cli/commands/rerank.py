"""The command ``millpond rerank``: ranks documents by relevance to a query."""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from heapq import nlargest
from typing import Annotated

import typer

from millpond_cli import options
from millpond_cli.arguments import truncates
from millpond_cli.io.formats import ROWS, TABLE, check_binary, choose_format
from millpond_cli.io.pairs import with_query
from millpond_cli.io.results import Columns, Layout, Result
from millpond_cli.io.rows import check_action, choose_keys
from millpond_cli.io.serializers import ScoreSerializer
from millpond_cli.io.source import choose_source, refuse_files
from millpond_cli.row_runners import score_runner
from millpond_cli.stream import Job
from millpond_command import declare
from millpond_command.model_options import RunOptions

FORMATS = (TABLE, *ROWS)
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
    typer.Argument(metavar="DOCUMENT", help="The documents. Without any, or with -, lines are read from stdin."),
]
Images = Annotated[
    bool, declare.option("Input", "--image", help="Rank images: each document is the path of an image file.")
]
Format = Annotated[
    str | None,
    declare.option(
        "Output",
        "--format",
        "-f",
        metavar="FORMAT",
        help="table, jsonl, json, csv or parquet. (default: from the file name; on a terminal table, else jsonl)",
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
    input_options: options.TextInputOptions,
    output_options: options.OutputOptions,
    images: Images = False,
    output_format: Format = None,
    top_n: TopN = None,
    model: options.ModelOption = options.DEFAULT_MODEL,
    run_options: RunOptions,
    call_options: options.CallOptions,
    pair_options: options.PairOptions,
) -> None:
    """Rank documents by relevance to a query.

    Documents are arguments, lines of stdin, or rows of a file. Each result contains the rank, the score, the index in
    the input and the text of a document. With --top-n, memory use does not depend on the number of documents. With
    --image, documents are paths of image files.
    """
    skip_failed = check_action(input_options.on_error)
    refuse_files([query], option=None)
    if not images:
        refuse_files(documents or ())
    source = choose_source(documents or (), input_options.input_path, input_options.input_format, noun="document")
    pairs = with_query(query, source, choose_keys(source, text_key=input_options.text_key, id_key=input_options.id_key))
    file_format = choose_format(output_format, output_options.output_path, FORMATS)
    check_binary(file_format, output_options.output_path)
    runner = score_runner(call_options, pair_options, of_images=images)
    job = Job(pairs, runner, model, run_options, output_options, skip_failed=skip_failed)
    job.write(
        file_format,
        lambda _: _layout(with_id=source.has_fields, with_dropped=truncates(call_options)),
        partial(in_order, top=top_n),
    )


def in_order(results: Iterable[Result], top: int | None) -> list[Result]:
    """Return the results without an error, ranked by score. Equal scores keep their order.

    Args:
        results: The results of all documents.
        top: The maximum number of results; None for all.
    """
    scored = (
        replace(result, token_ids=()) for result in results if not result.error
    )  # without token ids, to save memory
    best = sorted(scored, key=_score, reverse=True) if top is None else nlargest(top, scored, key=_score)
    return [replace(result, rank=rank) for rank, result in enumerate(best, start=1)]


def _score(result: Result) -> float:
    return float(result.value)


def _layout(*, with_id: bool, with_dropped: bool) -> Layout:
    """Return the layout of ranked documents: rank, score, id or number, and text."""
    columns = Columns(
        heading=("RANK", "SCORE", "ID" if with_id else "NO", "DOCUMENT"),
        row=lambda result: [
            str(result.rank),
            f"{_score(result):.4f}",
            str(result.row.id if with_id else result.row.index + 1),
            result.row.text,
        ],
        right=(0, 1) if with_id else (0, 1, 2),
    )
    return Layout(
        with_text=True,
        with_id=with_id,
        with_dropped=with_dropped,
        serializer=ScoreSerializer(),
        texts=("document",),
        with_rank=True,
        columns=columns,
    )
