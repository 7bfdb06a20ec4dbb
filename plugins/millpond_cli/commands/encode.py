"""``millpond encode``: runs any pooling task and writes its raw output."""

import json
from typing import Annotated, Any

from millpond_cli import options
from millpond_cli.arguments import truncates
from millpond_cli.io.formats import (
    BINARY,
    COLUMNAR,
    PLUGIN,
    ROWS,
    TABLE,
    check_binary,
    check_vectors,
    choose_format,
    choose_plugin_format,
    reads_objects,
    returns_arrays,
)
from millpond_cli.io.inputs import texts_of
from millpond_cli.io.results import Layout
from millpond_cli.io.rows import Keys, check_action
from millpond_cli.io.serializers import EntitiesSerializer, Serializer, ValueSerializer, VectorSerializer
from millpond_cli.row_runners import encode_runner, with_json_values
from millpond_cli.stream import Job
from millpond_command import declare
from millpond_command.cli import USAGE, CommandError
from millpond_command.model_options import PluginRunOptions

ENTITIES = "entities"
NESTED_FORMATS = ("jsonl", "json", *COLUMNAR)  # for results that are not arrays
FORMATS = (TABLE, *ROWS, *BINARY)
STACK = "stack"  # the writer of npy files for arrays of any shape
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
        help="embed or classify; token_embed or token_classify for one row per token; plugin for the task of an IO "
        "processor plugin.",
    ),
]
Activation = Annotated[
    bool | None,
    declare.option(
        "Pooling",
        "--activation/--no-activation",
        help="Apply the activation: normalize vectors, or convert logits to probabilities. (default: from the model)",
    ),
]
Options = Annotated[
    list[str] | None,
    declare.option(
        "Pooling",
        "--option",
        metavar="NAME=VALUE",
        help="An option of the task, such as aggregation=first; VALUE may be JSON. Repeatable.",
    ),
]
Format = Annotated[
    str | None,
    declare.option(
        "Output",
        "--format",
        "-f",
        metavar="FORMAT",
        help="table (the first values of each row), jsonl, json, csv, parquet, npy, npz for one row per token, or raw "
        "for the bytes of a single result of the task plugin. (default: from the file name; table for numbers on a "
        "terminal, else jsonl)",
    ),
]


@declare.command(app, examples=EXAMPLES)
def encode(
    *,
    texts: options.Texts = None,
    input_options: options.TextInputOptions,
    output_options: options.OutputOptions,
    output_format: Format = None,
    with_text: options.WithText = False,
    model: options.ModelOption = options.DEFAULT_MODEL,
    run_options: PluginRunOptions,
    call_options: options.CallOptions,
    task: Task,
    dimensions: options.Dimensions = None,
    activation: Activation = None,
    option: Options = None,
) -> None:
    """Run any pooling task and write its raw output.

    Texts are arguments, the lines of stdin, or the rows of a file. They are processed in chunks, so that an input of
    any size fits into memory. For a task that reads objects, each row is one, or its field --text-key. For the task
    plugin, the field --text-key may contain any JSON value; bytes that the IO processor returns are written unchanged
    to a file such as mask.png, and as base64 to JSON.
    """
    skip_failed = check_action(input_options.on_error)
    of_objects = reads_objects(task)
    keys = Keys(any_data=task == PLUGIN, is_whole=of_objects)
    source = texts_of(texts, input_options, default_keys=keys, may_be_files=task == PLUGIN or of_objects)
    file_format = _choose_format(task, output_format, output_options.output_path)
    if not returns_arrays(task) and task != PLUGIN and file_format not in NESTED_FORMATS:
        message = f"results of the task {task!r} cannot be written as {file_format}"
        raise CommandError(message, hint="use --format jsonl, json or parquet", exit_code=USAGE)
    if returns_arrays(task):
        check_vectors(task, file_format)
    check_binary(
        file_format, output_options.output_path, with_text=with_text, needs_id=input_options.id_key is not None
    )
    layout = Layout(
        with_text=with_text,
        with_id=source.has_fields,
        with_error=skip_failed,
        with_dropped=truncates(call_options),
        serializer=_serializer(task),
        array="data",
    )
    extra = _task_options(option or [])
    runner = encode_runner(
        task,
        call_options,
        of_objects=of_objects,
        dimensions=dimensions,
        use_activation=activation,
        extra_kwargs=extra or None,
    )
    if isinstance(layout.serializer, ValueSerializer) and file_format in ROWS:
        runner = with_json_values(runner, task)
    job = Job(source, runner, model, run_options, output_options, skip_failed=skip_failed)
    job.write(STACK if (task, file_format) == (PLUGIN, "npy") else file_format, lambda _: layout)


def _task_options(assignments: list[str]) -> dict[str, Any]:
    """Return the options of a task from the values of ``--option``.

    Raises:
        CommandError: A value does not have the form NAME=VALUE.
    """
    options: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not (name and equals):
            raise CommandError(f"--option {assignment!r}: expected NAME=VALUE", exit_code=USAGE)
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


def _choose_format(task: str, requested: str | None, path: str | None) -> str:
    if task == PLUGIN:
        return choose_plugin_format(requested, path)
    return choose_format(requested, path, FORMATS, default=None if returns_arrays(task) else ROWS[0])


def _serializer(task: str) -> Serializer:
    if returns_arrays(task):
        return VectorSerializer(field="data", column="d")
    return EntitiesSerializer() if task == ENTITIES else ValueSerializer()
