"""``millpond embed``: embeds texts or images. Its options are checked before the model is loaded."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from millpond_cli import options
from millpond_cli.arguments import truncates
from millpond_cli.commands.sparse import SPARSE_FORMATS, SparseOptions
from millpond_cli.io.formats import BINARY, COLUMNAR, RECORDS, TABLE, check_binary, check_vectors, choose_format
from millpond_cli.io.inputs import texts_of
from millpond_cli.io.results import Layout
from millpond_cli.io.rows import check_action
from millpond_cli.row_runners import encode_runner
from millpond_cli.stream import Job
from millpond_command import declare
from millpond_command.cli import USAGE, CommandError
from millpond_command.model_arguments import read_expected_space
from millpond_command.model_options import ExpectSpace, RunOptions

if TYPE_CHECKING:
    from millpond.llm import LLM

FORMATS = (TABLE, *RECORDS, *BINARY, *COLUMNAR)
EXAMPLES = (
    'millpond embed "a cup of tea" "a mug of coffee"',
    "millpond embed -i notes.txt -o notes.npy",
    "cat docs.jsonl | millpond embed --input-format jsonl --text-key body -f csv",
    "millpond embed -i docs.parquet --text-column body -o vectors.parquet",
    "millpond embed -m BAAI/bge-small-en-v1.5 --quantization int8 -i notes.txt -o notes.npy",
    "millpond embed -m naver/splade-v3 --sparse --with-tokens -i notes.txt -o weights.jsonl",
    'millpond embed -m intfloat/e5-base-v2 --prompt "query: " "how to dry tea"',
    "millpond embed -m openai/clip-vit-base-patch32 --image photos/*.jpg -o photos.npy",
)

app = declare.new_app()

Format = Annotated[
    str | None,
    declare.option(
        "Output",
        "--format",
        "-f",
        metavar="FORMAT",
        help="table (the first values of each vector), jsonl, json, csv, npy, parquet, or npz for token_embed; with "
        "--sparse: table, jsonl, json, csv or parquet. (default: from the file name; on a terminal table, else jsonl)",
    ),
]
Task = Annotated[
    str,
    declare.option(
        "Pooling",
        "--pooling-task",
        "--task",
        metavar="TASK",
        help="embed for one vector per text, token_embed for one per token.",
    ),
]
Normalize = Annotated[
    bool | None,
    declare.option(
        "Pooling", "--normalize/--no-normalize", help="Normalize vectors to length 1. (default: from the model)"
    ),
]
Images = Annotated[
    bool, declare.option("Input", "--image", help="Embed images: each text is the path of an image file.")
]
ImageText = Annotated[
    str | None,
    declare.option(
        "Input", "--image-text", metavar="TEXT", help="With --image: a text to embed together with each image."
    ),
]
InputType = Annotated[
    str | None,
    declare.option(
        "Prompt",
        "--input-type",
        metavar="TYPE",
        help="query or document, for models that encode them differently.",
    ),
]


@declare.command(app, examples=EXAMPLES)
def embed(
    *,
    texts: options.Texts = None,
    input_options: options.TextInputOptions,
    output_options: options.OutputOptions,
    output_format: Format = None,
    with_text: options.WithText = False,
    model: options.ModelOption = options.DEFAULT_MODEL,
    expect_space: ExpectSpace = None,
    run_options: RunOptions,
    call_options: options.CallOptions,
    task: Task = "embed",
    dimensions: options.Dimensions = None,
    normalize: Normalize = None,
    input_type: InputType = None,
    images: Images = False,
    image_text: ImageText = None,
    sparse_options: SparseOptions,
) -> None:
    """Embed texts or images as vectors.

    Texts are arguments, the lines of stdin, or the rows of a file. They are processed in chunks, so that an input of
    any size fits into memory. With --sparse, the result is a weight for each token of the vocabulary. With --image,
    texts are the paths of image files.
    """
    if images and sparse_options.sparse:
        message = "--image and --sparse cannot be used together: images have no sparse vectors"
        raise CommandError(message, hint="remove one of them", exit_code=USAGE)
    if image_text is not None and not images:
        message = "--image-text requires --image"
        raise CommandError(message, hint="with --image, the arguments are the paths of image files", exit_code=USAGE)
    skip_failed, expected = check_action(input_options.on_error), read_expected_space(expect_space)
    source = texts_of(texts, input_options, may_be_files=images)
    sparse_options.check(dimensions=dimensions, normalize=normalize, task=None if task == "embed" else task)
    formats = SPARSE_FORMATS if sparse_options.sparse else FORMATS
    file_format = choose_format(output_format, output_options.output_path, formats)
    if not sparse_options.sparse:
        check_vectors(task, file_format)
    needs_id = input_options.id_key is not None
    check_binary(file_format, output_options.output_path, with_text=with_text, needs_id=needs_id)
    layout = Layout(
        with_text=with_text, with_id=source.has_fields, with_error=skip_failed, with_dropped=truncates(call_options)
    )
    if sparse_options.sparse:
        runner = sparse_options.runner(call_options, input_type)
    else:
        runner = encode_runner(
            task,
            call_options,
            input_type=input_type,
            of_images=images,
            image_text=image_text,
            dimensions=dimensions,
            use_activation=normalize,
        )
    job = Job(source, runner, model, run_options, output_options, skip_failed=skip_failed)

    def layout_of(llm: "LLM") -> Layout:
        is_stored = output_options.output_path is not None and file_format in (*BINARY, *COLUMNAR)
        space = None
        if is_stored or expected is not None:
            space = llm.space.of_call(dimensions=dimensions, normalized=normalize)
        if space is not None and expected is not None:
            space.require(expected)
        size = dimensions or llm.model_config.embedding_size
        dense = replace(layout, dimensions=size, space=None if space is None else space.descriptor)
        return sparse_options.layout(dense) if sparse_options.sparse else dense

    job.write(file_format, layout_of)
