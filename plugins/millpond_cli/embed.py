"""``millpond embed``: its options, checked before anything is loaded."""

import sys
from pathlib import Path

import typer

from millpond.cli import PARTIAL, USAGE, CommandError
from millpond.errors import UnknownNameError
from millpond.plugins import get_plugin_manager
from millpond_cli import options
from millpond_cli.arguments import ModelArguments
from millpond_cli.output import STDOUT
from millpond_cli.rows import Keys, Source, choose_source
from millpond_cli.stream import Wish, run

FORMATS = ("jsonl", "json", "csv", "npy", "npz")
BINARY = ("npy", "npz")
ACTIONS = ("raise", "skip")

app = options.new_app()


@app.command(cls=options.GroupedCommand)
def embed(
    *,
    texts: options.Texts = None,
    input_path: options.InputPath = None,
    input_format: options.InputFormat = None,
    text_key: options.TextKey = None,
    id_key: options.IdKey = None,
    on_error: options.OnError = "raise",
    output_path: options.OutputPath = None,
    output_format: options.Format = None,
    with_text: options.WithText = False,
    quiet: options.Quiet = False,
    progress: options.ShowProgress = None,
    model: options.ModelOption = options.DEFAULT_MODEL,
    revision: options.Revision = None,
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    max_model_len: options.MaxModelLen = None,
    hf_overrides: options.HfOverrides = None,
    convert: options.Convert = "auto",
    allow_pickle: options.AllowPickle = False,
    trust_remote_code: options.TrustRemoteCode = False,
    kernels: options.Kernels = None,
    quantization: options.Quantization = None,
    deterministic: options.Deterministic = False,
    batch_tokens: options.BatchTokens = None,
    task: options.Task = "embed",
    truncate: options.Truncate = False,
    dimensions: options.Dimensions = None,
    normalize: options.Normalize = None,
    pooler_config: options.PoolerConfigJson = None,
) -> None:
    """Turn texts into vectors.

    Texts are arguments, the lines of stdin, or the rows of a file. They are read, computed and written piece by piece,
    in order: any number of them fits into memory.
    """
    if on_error not in ACTIONS:
        message = f"--on-error {on_error!r}: expected one of {', '.join(ACTIONS)}"
        raise CommandError(message, exit_code=USAGE)
    source = choose_source(texts or (), input_path, input_format)
    wish = Wish(
        task=task,
        format=_choose_format(output_format, output_path, task),
        with_text=with_text,
        keys=_choose_keys(source, text_key, id_key),
        truncate=truncate,
        dimensions=dimensions,
        normalize=normalize,
        skips=on_error == "skip",
        quiet=quiet,
        progress=False if quiet and progress is None else progress,
    )
    if wish.format in BINARY:
        _check_binary(wish, output_path)
    arguments = ModelArguments(
        model=model,
        revision=revision,
        dtype=dtype,
        device=device,
        max_model_len=max_model_len,
        hf_overrides=hf_overrides,
        convert=convert,
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
        kernels=kernels,
        quantization=quantization,
        deterministic=deterministic,
        batch_tokens=batch_tokens,
        pooler_config=pooler_config,
    )
    if run(source, output_path, arguments, wish):
        raise typer.Exit(PARTIAL)


def _choose_keys(source: Source, text_key: str | None, id_key: str | None) -> Keys:
    for option, key in (("--text-key", text_key), ("--id-key", id_key)):
        if key is not None and not source.has_fields:
            message = f"{option} names a field of JSONL or a column of CSV, and the texts come as {source.kind}"
            raise CommandError(message, hint="--input-format jsonl or csv says what is in the input", exit_code=USAGE)
    plain = Keys()
    return Keys(text=text_key or plain.text, id=id_key or plain.id, needs_id=id_key is not None)


def _choose_format(asked: str | None, path: str | None, task: str) -> str:
    """The format that was asked for, else the one that the file's name says; it must be able to hold the results."""
    chosen = asked or _format_of(path)
    if chosen not in FORMATS:
        message = f"--format {chosen!r}: expected one of {', '.join(FORMATS)}"
        raise CommandError(message, exit_code=USAGE)
    try:
        per_token = get_plugin_manager().registry.tasks.get(task).spec.per_token
    except UnknownNameError as error:
        raise CommandError(f"--pooling-task {task!r}: {error}", exit_code=USAGE) from error
    if per_token and chosen in ("csv", "npy"):
        message = f"{chosen} holds one vector a text, and the task {task} gives one a token"
        raise CommandError(message, hint="--format npz, jsonl or json holds them", exit_code=USAGE)
    if not per_token and chosen == "npz":
        message = f"npz holds vectors of tokens, and the task {task} gives one vector a text"
        raise CommandError(message, hint="--format npy holds them", exit_code=USAGE)
    return chosen


def _format_of(path: str | None) -> str:
    suffix = "" if path is None else Path(path).suffix.lower().removeprefix(".")
    if suffix in ("", "ndjson"):
        return FORMATS[0]
    if suffix not in FORMATS:
        message = f"the name {path!r} does not say how to write the vectors; known are .{', .'.join(FORMATS)}"
        raise CommandError(message, hint="--format says it", exit_code=USAGE)
    return suffix


def _check_binary(wish: Wish, path: str | None) -> None:
    """Refuse what an array has no place for, and what a terminal cannot show."""
    for option, given in (("--with-text", wish.with_text), ("--id-key", wish.keys.needs_id)):
        if given:
            message = f"{option}: {wish.format} holds vectors alone"
            raise CommandError(message, hint="--format jsonl, json or csv holds more", exit_code=USAGE)
    if path in (None, STDOUT) and sys.stdout is not None and sys.stdout.isatty():
        message = f"{wish.format} is binary, and stdout is a terminal"
        raise CommandError(message, hint="--output FILE writes to a file", exit_code=USAGE)
