"""``millpond classify``: the classes of texts, or of their tokens."""

from typing import TYPE_CHECKING, Annotated

from millpond_cli import options
from millpond_cli.asking import encoding
from millpond_cli.commands.entities import Finding
from millpond_cli.io.contents import Classes, Content, Entities, TokenClasses
from millpond_cli.io.formats import RECORDS, choose_format
from millpond_cli.io.inputs import texts_of, with_second_text
from millpond_cli.io.results import Layout
from millpond_cli.io.rows import Keys, check_action
from millpond_cli.stream import Job
from millpond_command import declare
from millpond_command.cli import USAGE, CommandError
from millpond_command.model_options import Running

if TYPE_CHECKING:
    from millpond.llm import LLM

TEXT_PAIR_KEY = "text_pair"
EXAMPLES = (
    'millpond classify -m ./sentiment "what a lovely day"',
    "millpond classify -m ./sentiment -i reviews.csv --text-key body --top-k 1 -o labels.csv",
    'millpond classify -m ./nli "A cat sleeps." --text-pair "An animal rests."',
    'millpond classify -m ./entities --tokens "Anna lives in Oslo"',
    'millpond classify -m ./entities --per-token --top-k 1 "Anna lives in Oslo"',
)

app = declare.new_app()

Model = Annotated[str, declare.option("Model", "--model", "-m", metavar="MODEL", help=options.MODEL_HELP)]
TopK = Annotated[
    int | None,
    declare.option("Output", "--top-k", metavar="N", least=1, help="Show only the N most probable classes, in order."),
]
Raw = Annotated[bool, declare.option("Output", "--raw", help="Show the logits, before any activation.")]
TextPair = Annotated[
    str | None,
    declare.option("Input", "--text-pair", metavar="TEXT", help="A second text for each, of models that read two."),
]
TextPairKey = Annotated[
    str | None,
    declare.option(
        "Input",
        "--text-pair-key",
        metavar="KEY",
        help="The JSON field or CSV column of the second text. (default: text_pair, where a row has it)",
    ),
]
PerToken = Annotated[bool, declare.option("Pooling", "--per-token", help="Classify each token, with jsonl and json.")]


@declare.command(app, examples=EXAMPLES)
def classify(
    *,
    texts: options.Texts = None,
    text_pair: TextPair = None,
    reading: options.ReadingTexts,
    text_pair_key: TextPairKey = None,
    writing: options.Writing,
    output_format: options.RecordsFormat = None,
    with_text: options.WithText = False,
    top_k: TopK = None,
    raw: Raw = False,
    model: Model,
    running: Running,
    asking: options.Asking,
    per_token: PerToken = False,
    finding: Finding,
) -> None:
    """Classify texts or their tokens.

    Each has its label, as config.json names it, and the probabilities of all classes. Texts are arguments, the lines
    of stdin, or the rows of a file; any number of them fits into memory. With --tokens, each has the entities in it,
    such as names, with the characters that they stand for. Rows with a second text, text_pair, are classified as pairs.
    """
    skips = check_action(reading.on_error)
    source = texts_of(texts, reading, plain=Keys(text_pair=TEXT_PAIR_KEY), text_pair_key=text_pair_key)
    if text_pair is not None:
        source = with_second_text(source, text_pair)
    kind = choose_format(output_format, writing.output_path, RECORDS)
    finding.check(kind, **{"top-k": top_k, "raw": raw or None, "per-token": per_token or None})
    if per_token and kind == "csv":
        message = "csv holds the classes of texts, and --per-token gives those of tokens"
        raise CommandError(message, hint="--format jsonl or json holds them", exit_code=USAGE)

    def layout(llm: "LLM") -> Layout:
        field = "logits" if raw else "probs"
        content = Entities() if finding.tokens else _content(llm, field=field, top=top_k, per_token=per_token)
        has_pairs = source.has_fields or text_pair is not None
        texts = ("text", TEXT_PAIR_KEY) if has_pairs else ("text",)
        return Layout(with_text=with_text, with_id=source.has_fields, with_error=skips, content=content, texts=texts)

    task = "token_classify" if per_token else "classify"
    ask = finding.asking(asking) if finding.tokens else encoding(task, asking, use_activation=False if raw else None)
    Job(source=source, ask=ask, model=model, running=running, writing=writing, skips=skips).write(kind, layout)


def _content(llm: "LLM", *, field: str, top: int | None, per_token: bool) -> Content:
    classes = Classes(labels=distinct(llm.model_config.labels), field=field, top=top)
    tokenizer = llm.pipeline.ctx.tokenizer
    if not per_token or tokenizer is None:
        return classes
    return TokenClasses(classes=classes, token=lambda number: str(tokenizer.backend.id_to_token(number)))


def distinct(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the labels; those that occur twice get their place, so that their numbers can be told apart."""
    return tuple(f"{label}#{place}" if labels.count(label) > 1 else label for place, label in enumerate(labels))
