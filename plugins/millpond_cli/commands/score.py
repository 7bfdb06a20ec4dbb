"""``millpond score``: the scores of pairs of a query and a document."""

from typing import Annotated

import typer

from millpond_cli import options
from millpond_cli.asking import scoring
from millpond_cli.io.contents import Score
from millpond_cli.io.formats import RECORDS, choose_format
from millpond_cli.io.pairs import pairs_of
from millpond_cli.io.results import Layout
from millpond_cli.io.rows import check_action
from millpond_cli.stream import Job
from millpond_command import declare
from millpond_command.model_options import Running

EXAMPLES = (
    'millpond score "how to dry tea" "Spread the leaves in the sun."',
    'millpond score -m BAAI/bge-reranker-base "how to dry tea" --documents docs.txt',
    "millpond score --queries queries.txt --documents docs.txt -o scores.csv",
    "millpond score -i pairs.jsonl --query-key question --document-key answer --with-text",
)

app = declare.new_app()

PairTexts = Annotated[
    list[str] | None,
    typer.Argument(metavar="QUERY DOCUMENT", help="A query and its documents; none, or - alone, for pairs from stdin."),
]

Images = Annotated[
    bool, declare.option("Input", "--image", help="Documents are the names of files of images: score these.")
]


@declare.command(app, examples=EXAMPLES)
def score(
    *,
    texts: PairTexts = None,
    reading: options.ReadingPairs,
    writing: options.Writing,
    output_format: options.RecordsFormat = None,
    with_text: options.WithText = False,
    images: Images = False,
    model: options.ModelOption = options.DEFAULT_MODEL,
    running: Running,
    asking: options.Asking,
    pairing: options.Pairing,
) -> None:
    """Score pairs of a query and a document.

    A cross-encoder reads both texts of a pair at once; of an embedding model, the score is the cosine of the two
    vectors, or the similarity that its files name. Pairs are arguments, the rows of a file, or lines with a tab between
    query and document; any number of them fits into memory.
    """
    skips = check_action(reading.on_error)
    source = pairs_of(texts or (), reading, documents_are_files=images)
    kind = choose_format(output_format, writing.output_path, RECORDS)
    layout = Layout(
        with_text=with_text,
        with_id=source.has_fields,
        with_error=skips,
        content=Score(),
        texts=("query", "document"),
    )
    ask = scoring(asking, pairing, of_images=images)
    job = Job(source=source, ask=ask, model=model, running=running, writing=writing, skips=skips)
    job.write(kind, lambda _: layout)
