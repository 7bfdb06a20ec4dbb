"""``millpond encode``: the bare results of any pooling task."""

import json
from typing import Annotated, Any

from millpond_cli import options
from millpond_cli.asking import encoding, with_json_values
from millpond_cli.io.contents import Anything, Content, Entities, Numbers
from millpond_cli.io.formats import (
    BINARY,
    PLUGIN,
    RECORDS,
    TABLE,
    check_binary,
    check_vectors,
    choose_format,
    choose_plugin_format,
    gives_arrays,
)
from millpond_cli.io.inputs import texts_of
from millpond_cli.io.results import Layout
from millpond_cli.io.rows import Keys, check_action
from millpond_cli.stream import Job
from millpond_command import declare
from millpond_command.cli import USAGE, CommandError
from millpond_command.model_options import RunningPlugins

ENTITIES = "entities"
TELLING = ("jsonl", "json")  # formats that hold more than numbers
FORMATS = (TABLE, *RECORDS, *BINARY)
STACK = "stack"  # the writer of npy for arrays of any shape
EXAMPLES = (
    'millpond encode --task token_embed "a cup of tea"',
    "millpond encode --task token_embed -i notes.txt -o tokens.npz",
    "millpond encode -m ./sentiment --task classify --no-activation -i reviews.txt",
    "millpond encode -m ./model --task plugin --io-processor-plugin NAME -i requests.jsonl --text-key data",
    "millpond encode -m ./model --task plugin -i tile.jsonl --text-key data -o mask.png",
    "millpond encode -m ./ner --task entities --option aggregation=first -i notes.txt",
)

app = declare.new_app()

Task = Annotated[
    str,
    declare.option(
        "Pooling",
        "--pooling-task",
        "--task",
        metavar="TASK",
        help="embed, classify; token_embed, token_classify for a row a token; plugin for an IO processor's own.",
    ),
]
Activation = Annotated[
    bool | None,
    declare.option(
        "Pooling",
        "--activation/--no-activation",
        help="Normalise vectors, or make probabilities of logits; as the model says if unset.",
    ),
]
Options = Annotated[
    list[str] | None,
    declare.option(
        "Pooling",
        "--option",
        metavar="NAME=VALUE",
        help="An option of the task, such as aggregation=first; the value may be JSON. Repeatable.",
    ),
]
Format = Annotated[
    str | None,
    declare.option(
        "Output",
        "--format",
        "-f",
        metavar="FORMAT",
        help="jsonl, json, csv, npy, npz for a row a token, raw for the bytes of one result of the task plugin, or "
        "table, which shows the first numbers of each row. (default: by the name of the file; for numbers on a "
        "terminal table, else jsonl)",
    ),
]


@declare.command(app, examples=EXAMPLES)
def encode(
    *,
    texts: options.Texts = None,
    reading: options.ReadingTexts,
    writing: options.Writing,
    output_format: Format = None,
    with_text: options.WithText = False,
    model: options.ModelOption = options.DEFAULT_MODEL,
    running: RunningPlugins,
    asking: options.Asking,
    task: Task,
    dimensions: options.Dimensions = None,
    activation: Activation = None,
    option: Options = None,
) -> None:
    """Compute the bare results of any pooling task.

    Texts are arguments, the lines of stdin, or the rows of a file. For the task plugin, the field that --text-key names
    may hold any JSON; bytes that an IO processor returns are written as they are to a file such as mask.png, and as
    base64 in JSON. Texts are read, computed and written piece by piece: any number of them fits into memory.
    """
    skips = check_action(reading.on_error)
    source = texts_of(texts, reading, plain=Keys(any_data=task == PLUGIN), may_be_files=task == PLUGIN)
    kind = _format(task, output_format, writing.output_path)
    if not gives_arrays(task) and task != PLUGIN and kind not in TELLING:
        message = f"{kind} holds numbers, and {task if task == ENTITIES else f'results of the task {task}'} are none"
        raise CommandError(message, hint="--format jsonl or json holds them", exit_code=USAGE)
    if gives_arrays(task):
        check_vectors(task, kind)
    check_binary(kind, writing.output_path, with_text=with_text, needs_id=reading.id_key is not None)
    layout = Layout(
        with_text=with_text, with_id=source.has_fields, with_error=skips, content=_content(task), array="data"
    )
    extra = _task_options(option or [])
    ask = encoding(task, asking, dimensions=dimensions, use_activation=activation, extra_kwargs=extra or None)
    if isinstance(layout.content, Anything) and kind in RECORDS:
        ask = with_json_values(ask, task)
    job = Job(source=source, ask=ask, model=model, running=running, writing=writing, skips=skips)
    job.write(STACK if (task, kind) == (PLUGIN, "npy") else kind, lambda _: layout)


def _task_options(given: list[str]) -> dict[str, Any]:
    """The options of a task by name.

    Raises:
        CommandError: One is not of the form NAME=VALUE.
    """
    options: dict[str, Any] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not (name and equals):
            raise CommandError(f"--option {each!r}", hint="write it as NAME=VALUE", exit_code=USAGE)
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


def _format(task: str, asked: str | None, path: str | None) -> str:
    if task == PLUGIN:
        return choose_plugin_format(asked, path)
    return choose_format(asked, path, FORMATS, plain=None if gives_arrays(task) else RECORDS[0])


def _content(task: str) -> Content:
    if gives_arrays(task):
        return Numbers(field="data", column="d")
    return Entities() if task == ENTITIES else Anything()
