"""``millpond score``: scores pairs of a query and a document."""

from typing import Annotated

import typer

from millpond_cli import options
from millpond_cli.arguments import truncates
from millpond_cli.io.formats import ROWS, check_binary, choose_format
from millpond_cli.io.pairs import pairs_of
from millpond_cli.io.results import Layout
from millpond_cli.io.rows import check_action
from millpond_cli.io.serializers import ScoreSerializer
from millpond_cli.row_runners import score_runner
from millpond_cli.stream import Job
from millpond_command import declare
from millpond_command.model_options import RunOptions

EXAMPLES = (
    'millpond score "how to dry tea" "Spread the leaves in the sun."',
    'millpond score -m BAAI/bge-reranker-base "how to dry tea" --documents docs.txt',
    "millpond score --queries queries.txt --documents docs.txt -o scores.csv",
    "millpond score -i pairs.jsonl --query-key question --document-key answer --with-text",
)

app = declare.new_app()

PairTexts = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="QUERY DOCUMENT", help="A query and its documents. Without any, or with -, pairs are read from stdin."
    ),
]

Images = Annotated[
    bool, declare.option("Input", "--image", help="Score images: each document is the path of an image file.")
]


@declare.command(app, examples=EXAMPLES)
def score(
    *,
    texts: PairTexts = None,
    input_options: options.PairInputOptions,
    output_options: options.OutputOptions,
    output_format: options.RecordsFormat = None,
    with_text: options.WithText = False,
    images: Images = False,
    model: options.ModelOption = options.DEFAULT_MODEL,
    run_options: RunOptions,
    call_options: options.CallOptions,
    pair_options: options.PairOptions,
) -> None:
    """Score pairs of a query and a document.

    A cross-encoder encodes both texts of a pair together. For an embedding model, the score is the cosine similarity of
    the two vectors, or the similarity function that the model specifies. Pairs are arguments, the rows of a file, or
    lines of a query, a tab and a document.
    """
    skip_failed = check_action(input_options.on_error)
    source = pairs_of(texts or (), input_options, documents_are_files=images)
    file_format = choose_format(output_format, output_options.output_path, ROWS)
    check_binary(file_format, output_options.output_path)
    layout = Layout(
        with_text=with_text,
        with_id=source.has_fields,
        with_error=skip_failed,
        with_dropped=truncates(call_options),
        serializer=ScoreSerializer(),
        texts=("query", "document"),
    )
    runner = score_runner(call_options, pair_options, of_images=images)
    job = Job(source, runner, model, run_options, output_options, skip_failed=skip_failed)
    job.write(file_format, lambda _: layout)
