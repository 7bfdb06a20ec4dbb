"""``millpond embed``: texts to vectors. Its options are checked before anything is loaded."""

from dataclasses import replace
from typing import Annotated

from millpond_cli import options
from millpond_cli.asking import encoding
from millpond_cli.commands.sparse import SPARSE_FORMATS, Sparsely
from millpond_cli.io.formats import BINARY, RECORDS, TABLE, check_binary, check_vectors, choose_format
from millpond_cli.io.inputs import texts_of
from millpond_cli.io.results import Layout
from millpond_cli.io.rows import check_action
from millpond_cli.stream import Job
from millpond_command import declare
from millpond_command.cli import USAGE, CommandError
from millpond_command.model_options import Running

FORMATS = (TABLE, *RECORDS, *BINARY)
EXAMPLES = (
    'millpond embed "a cup of tea" "a mug of coffee"',
    "millpond embed -i notes.txt -o notes.npy",
    "cat docs.jsonl | millpond embed --input-format jsonl --text-key body -f csv",
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
        help="jsonl, json, csv, npy, npz for token_embed, or table, which shows the first numbers of each vector; with "
        "--sparse: table, jsonl, json or csv. (default: by the name of the file; on a terminal table, else jsonl)",
    ),
]
Task = Annotated[
    str,
    declare.option(
        "Pooling",
        "--pooling-task",
        "--task",
        metavar="TASK",
        help="embed for one vector a text, token_embed for one a token.",
    ),
]
Normalize = Annotated[
    bool | None,
    declare.option(
        "Pooling", "--normalize/--no-normalize", help="Bring vectors to length 1; as the model says if unset."
    ),
]
Images = Annotated[
    bool, declare.option("Input", "--image", help="Texts are the names of files of images: embed these.")
]
ImageText = Annotated[
    str | None,
    declare.option(
        "Input", "--image-text", metavar="TEXT", help="With --image: a text beside each, for models that read both."
    ),
]
InputType = Annotated[
    str | None,
    declare.option(
        "Prompt",
        "--input-type",
        metavar="TYPE",
        help="query or document, for models that read the two in different ways.",
    ),
]


@declare.command(app, examples=EXAMPLES)
def embed(
    *,
    texts: options.Texts = None,
    reading: options.ReadingTexts,
    writing: options.Writing,
    output_format: Format = None,
    with_text: options.WithText = False,
    model: options.ModelOption = options.DEFAULT_MODEL,
    running: Running,
    asking: options.Asking,
    task: Task = "embed",
    dimensions: options.Dimensions = None,
    normalize: Normalize = None,
    input_type: InputType = None,
    images: Images = False,
    image_text: ImageText = None,
    sparsely: Sparsely,
) -> None:
    """Turn texts, or images, into vectors.

    Texts are arguments, the lines of stdin, or the rows of a file. They are read, computed and written piece by piece,
    in order: any number of them fits into memory. With --sparse they become weights of tokens of the vocabulary. With
    --image they are the names of files, and the images in these become vectors.
    """
    if images and sparsely.sparse:
        message = "--image and --sparse: images have no weights of tokens"
        raise CommandError(message, hint="leave one of the two out", exit_code=USAGE)
    if image_text is not None and not images:
        message = "--image-text is a text beside images, and there are none"
        raise CommandError(message, hint="--image says that the arguments are files of images", exit_code=USAGE)
    skips = check_action(reading.on_error)
    source = texts_of(texts, reading, may_be_files=images)
    sparsely.check(dimensions=dimensions, normalize=normalize, task=None if task == "embed" else task)
    kind = choose_format(output_format, writing.output_path, SPARSE_FORMATS if sparsely.sparse else FORMATS)
    layout = Layout(with_text=with_text, with_id=source.has_fields, with_error=skips)
    if sparsely.sparse:
        ask = sparsely.asking(asking, input_type)
    else:
        check_vectors(task, kind)
        check_binary(kind, writing.output_path, with_text=with_text, needs_id=reading.id_key is not None)
        ask = encoding(
            task,
            asking,
            input_type=input_type,
            of_images=images,
            beside=image_text,
            dimensions=dimensions,
            use_activation=normalize,
        )
    job = Job(source=source, ask=ask, model=model, running=running, writing=writing, skips=skips)
    if sparsely.sparse:
        job.write(kind, lambda _: sparsely.layout(layout))
    else:
        job.write(kind, lambda llm: replace(layout, dimensions=dimensions or llm.model_config.embedding_size))
