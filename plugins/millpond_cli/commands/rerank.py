"""``millpond rerank``: documents in the order in which they suit a query."""

from dataclasses import replace
from heapq import nlargest
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from millpond_cli import options
from millpond_cli.ask import scoring
from millpond_cli.io.formats import RECORDS, TABLE, choose_format, plain_format
from millpond_cli.io.pairs import with_query
from millpond_cli.io.rows import check_action, choose_keys
from millpond_cli.io.source import choose_source, refuse_files
from millpond_cli.io.tables import table
from millpond_cli.stream import run, work_of, write_results, written_whole
from millpond_command import declare
from millpond_command.model_options import Running

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from millpond.llm import LLM
    from millpond_cli.io.writers import Result

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
        help="table, jsonl, json or csv. If unset, by the name of the file; else a table on a terminal, and jsonl.",
    ),
]
TopN = Annotated[
    int | None, declare.option("Output", "--top-n", "-n", metavar="N", least=1, help="Tell the N best alone.")
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
    """Put documents into the order in which they suit a query.

    Documents are arguments, the lines of stdin, or the rows of a file. Each is told with its rank, its score, its
    place in the input and its text. With --top-n any number of them fits into memory. With --image they are the names
    of files, and the images in these are ranked, by models that read such.
    """
    skips = check_action(reading.on_error)
    refuse_files([query], option=None)
    if not images:
        refuse_files(documents or ())
    source = choose_source(documents or (), reading.input_path, reading.input_format, called="document")
    pairs = with_query(query, source, choose_keys(source, text_key=reading.text_key, id_key=reading.id_key))
    kind = choose_format(output_format, writing.output_path, FORMATS, plain=plain_format(writing.output_path))
    work = work_of(model, running, writing, scoring(asking, pairing, of_images=images), skips=skips)
    with written_whole(writing.output_path) as file:

        def sink(_: "LLM", chunks: "Iterable[list[Result]]") -> None:
            ranked = in_order((result for results in chunks for result in results), top_n)
            _write(file, kind, ranked, with_id=source.has_fields)

        run(pairs, work, sink)


def in_order(results: "Iterable[Result]", top: int | None) -> "list[Result]":
    """The results with a score, the greatest first, with their ranks; of equal ones the first of the input first.

    Args:
        results: Those of all documents.
        top: How many are kept; None for all.
    """
    scored = (replace(result, token_ids=()) for result in results if not result.error)  # what is kept is small
    best = sorted(scored, key=_score, reverse=True) if top is None else nlargest(top, scored, key=_score)
    return [replace(result, rank=rank) for rank, result in enumerate(best, start=1)]


def _score(result: "Result") -> float:
    return float(result.value)


def _write(file: BinaryIO, kind: str, ranked: "Sequence[Result]", *, with_id: bool) -> None:
    if kind == TABLE:
        file.write(f"{_table(ranked, with_id=with_id)}\n".encode("utf-8", "backslashreplace"))
        return
    from millpond_cli.io.contents import Score  # noqa: PLC0415  needs numpy; --help does not
    from millpond_cli.io.writers import Layout  # noqa: PLC0415  as above

    layout = Layout(with_text=True, with_id=with_id, content=Score(), texts=("document",), with_rank=True)
    write_results(file, kind, layout, [ranked])


def _table(ranked: "Sequence[Result]", *, with_id: bool) -> str:
    """Rank, score, id or number, and the text, which is cut at the edge of a terminal."""
    heading = ["RANK", "SCORE", "ID" if with_id else "NO", "DOCUMENT"]
    rows = [
        [str(it.rank), f"{_score(it):.4f}", str(it.row.id if with_id else it.row.index + 1), it.row.text]
        for it in ranked
    ]
    return table([heading, *rows], right=(0, 1) if with_id else (0, 1, 2))
