"""``millpond classify``: classifies texts or their tokens, or extracts entities."""

from typing import TYPE_CHECKING, Annotated

from millpond_cli import options
from millpond_cli.arguments import truncates
from millpond_cli.commands.entities import EntityOptions
from millpond_cli.io.formats import ROWS, check_binary, choose_format
from millpond_cli.io.inputs import texts_of, with_second_text
from millpond_cli.io.results import Layout
from millpond_cli.io.rows import Keys, check_action
from millpond_cli.io.serializers import ClassesSerializer, EntitiesSerializer, Serializer, TokenClassesSerializer
from millpond_cli.row_runners import encode_runner
from millpond_cli.stream import Job
from millpond_command import declare
from millpond_command.cli import USAGE, CommandError
from millpond_command.model_options import MODEL_HELP, RunOptions

if TYPE_CHECKING:
    from millpond.llm import LLM

TEXT_PAIR_KEY = "text_pair"
NO_LISTS = ("csv", "parquet")  # formats without lists of objects
EXAMPLES = (
    'millpond classify -m ./sentiment "what a lovely day"',
    "millpond classify -m ./sentiment -i reviews.csv --text-key body --top-k 1 -o labels.csv",
    'millpond classify -m ./nli "A cat sleeps." --text-pair "An animal rests."',
    'millpond classify -m ./entities --tokens "Anna lives in Oslo"',
    'millpond classify -m ./entities --per-token --top-k 1 "Anna lives in Oslo"',
)

app = declare.new_app()

Model = Annotated[str, declare.option("Model", "--model", "-m", metavar="MODEL", help=MODEL_HELP)]
TopK = Annotated[
    int | None,
    declare.option("Output", "--top-k", metavar="N", least=1, help="Show only the N most probable classes, in order."),
]
Raw = Annotated[bool, declare.option("Output", "--raw", help="Show logits instead of probabilities.")]
TextPair = Annotated[
    str | None,
    declare.option("Input", "--text-pair", metavar="TEXT", help="A second text for each text, such as a hypothesis."),
]
TextPairKey = Annotated[
    str | None,
    declare.option(
        "Input",
        "--text-pair-key",
        "--text-pair-column",
        metavar="KEY",
        help="The JSON field or CSV column of the second text. (default: text_pair, if it exists)",
    ),
]
PerToken = Annotated[bool, declare.option("Pooling", "--per-token", help="Classify each token (jsonl and json only).")]


@declare.command(app, examples=EXAMPLES)
def classify(
    *,
    texts: options.Texts = None,
    text_pair: TextPair = None,
    input_options: options.TextInputOptions,
    text_pair_key: TextPairKey = None,
    output_options: options.OutputOptions,
    output_format: options.RecordsFormat = None,
    with_text: options.WithText = False,
    top_k: TopK = None,
    raw: Raw = False,
    model: Model,
    run_options: RunOptions,
    call_options: options.CallOptions,
    per_token: PerToken = False,
    entity_options: EntityOptions,
) -> None:
    """Classify texts or their tokens.

    Texts are arguments, the lines of stdin, or the rows of a file. A result has the label of the text, as named in
    config.json, and the probabilities of all classes. With --tokens, it has the entities in the text, such as names,
    and their character offsets. Rows with a second text, text_pair, are classified as pairs.
    """
    skip_failed = check_action(input_options.on_error)
    source = texts_of(texts, input_options, default_keys=Keys(text_pair=TEXT_PAIR_KEY), text_pair_key=text_pair_key)
    if text_pair is not None:
        source = with_second_text(source, text_pair)
    file_format = choose_format(output_format, output_options.output_path, ROWS)
    check_binary(file_format, output_options.output_path)
    entity_options.check(file_format, **{"top-k": top_k, "raw": raw or None, "per-token": per_token or None})
    if per_token and file_format in NO_LISTS:
        message = f"--per-token cannot be written as {file_format}"
        raise CommandError(message, hint="use --format jsonl or json", exit_code=USAGE)

    def layout(llm: "LLM") -> Layout:
        field = "logits" if raw else "probs"
        serializer = (
            EntitiesSerializer()
            if entity_options.tokens
            else _serializer(llm, field=field, top=top_k, per_token=per_token)
        )
        has_pairs = source.has_fields or text_pair is not None
        texts = ("text", TEXT_PAIR_KEY) if has_pairs else ("text",)
        return Layout(
            with_text=with_text,
            with_id=source.has_fields,
            with_error=skip_failed,
            with_dropped=truncates(call_options),
            serializer=serializer,
            texts=texts,
        )

    task = "token_classify" if per_token else "classify"
    runner = (
        entity_options.runner(call_options)
        if entity_options.tokens
        else encode_runner(task, call_options, use_activation=False if raw else None)
    )
    job = Job(source, runner, model, run_options, output_options, skip_failed=skip_failed)
    job.write(file_format, layout)


def _serializer(llm: "LLM", *, field: str, top: int | None, per_token: bool) -> Serializer:
    classes = ClassesSerializer(labels=distinct(llm.model_config.labels), field=field, top=top)
    tokenizer = llm.pipeline.ctx.tokenizer
    if not per_token or tokenizer is None:
        return classes
    return TokenClassesSerializer(classes=classes, token=lambda token_id: str(tokenizer.backend.id_to_token(token_id)))


def distinct(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the labels, with the index of the class added to labels that occur more than once."""
    return tuple(f"{label}#{index}" if labels.count(label) > 1 else label for index, label in enumerate(labels))
