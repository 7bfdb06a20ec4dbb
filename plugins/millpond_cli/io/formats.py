"""Choice of the output format, by option or file name. Imports neither torch nor numpy, which --help does not need."""

from collections.abc import Sequence
from pathlib import Path

from millpond_cli.choices import unknown_choice
from millpond_cli.io.output import is_stdout
from millpond_command.cli import USAGE, CommandError
from millpond_command.extras import check_extra
from millpond_command.model_arguments import task_named
from millpond_command.tables import is_terminal

TABLE = "table"
RECORDS = ("jsonl", "json", "csv")
BINARY = ("npy", "npz")
COLUMNAR = ("parquet",)
ROWS = (*RECORDS, *COLUMNAR)  # one row per text, with named fields
RAW = "raw"
PLUGIN = "plugin"  # the task of IO processor plugins, whose results may have any type
PLUGIN_FORMATS = (*ROWS, "npy", RAW)


def choose_format(
    requested: str | None, path: str | None, formats: Sequence[str], *, default: str | None = None
) -> str:
    """Return the requested format, or the format for the suffix of the output file.

    Args:
        requested: The value of ``--format``.
        path: The value of ``--output``.
        formats: The formats that the results can be written in.
        default: The format if neither states one; None for a table on a terminal if ``formats`` has it, else JSONL.

    Raises:
        CommandError: The results cannot be written in this format.
    """
    if default is None:
        default = TABLE if TABLE in formats and is_stdout(path) and is_terminal() else RECORDS[0]
    file_format = requested or _format_of(path, [name for name in formats if name != TABLE]) or default
    if file_format not in formats:
        raise unknown_choice("--format", file_format, formats)
    return file_format


def choose_plugin_format(requested: str | None, path: str | None) -> str:
    """Return the format for the task ``plugin``. A file with an unknown suffix is written as raw bytes.

    Raises:
        CommandError: The results cannot be written in this format.
    """
    suffix = "" if path is None else Path(path).suffix.lower().removeprefix(".")
    if requested == "npz" or (requested is None and suffix == "npz"):
        message = "results of IO processor plugins cannot be written as npz"
        raise CommandError(message, hint=f"use --format {', '.join(PLUGIN_FORMATS)}", exit_code=USAGE)
    if requested is None and suffix not in {"", "ndjson", *PLUGIN_FORMATS}:
        return RAW
    return choose_format(requested, path, PLUGIN_FORMATS)


def returns_arrays(task: str) -> bool:
    """Return True if the results of a task are arrays, which all formats support; other results need JSON.

    Raises:
        CommandError: The task is unknown.
    """
    if task == PLUGIN:
        return False
    from millpond.types.outputs import PoolingOutput  # noqa: PLC0415  not needed by --help

    return issubclass(task_named(task, "--pooling-task").load(), PoolingOutput)


def reads_objects(task: str) -> bool:
    """Return True if the items of a task are objects instead of texts.

    Raises:
        CommandError: The task is unknown.
    """
    return task != PLUGIN and task_named(task, "--pooling-task").spec.item is not None


def check_vectors(task: str, file_format: str) -> None:
    """Check that a format supports the shape of a task's results.

    Raises:
        CommandError: It does not, or the task is unknown.
    """
    per_token = task_named(task, "--pooling-task").spec.per_token
    if per_token and file_format in ("csv", "npy"):
        message = f"{file_format} has one vector per text, but the task {task} returns one per token"
        raise CommandError(message, hint="use --format npz, jsonl or json", exit_code=USAGE)
    if not per_token and file_format == "npz":
        message = f"npz has one vector per token, but the task {task} returns one per text"
        raise CommandError(message, hint="use --format npy", exit_code=USAGE)


def check_binary(file_format: str, path: str | None, *, with_text: bool = False, needs_id: bool = False) -> None:
    """Check that a binary format is not combined with texts, ids or a terminal.

    Raises:
        CommandError: The format is binary, and an option requires another format.
    """
    if file_format not in {*BINARY, *COLUMNAR, RAW}:
        return
    if file_format in COLUMNAR:
        check_extra(f"--format {file_format}", "jobs", ("pyarrow",))
        with_text = needs_id = False  # it has columns for them
    for option, is_used in (("--with-text", with_text), ("--id-key", needs_id)):
        if is_used:
            message = f"{option}: {file_format} has only {'one result' if file_format == RAW else 'vectors'}"
            raise CommandError(message, hint="use --format jsonl, json or csv", exit_code=USAGE)
    if is_stdout(path) and is_terminal():
        message = f"{file_format} is binary, and stdout is a terminal"
        raise CommandError(message, hint="write to a file with --output FILE", exit_code=USAGE)


def _format_of(path: str | None, formats: Sequence[str]) -> str | None:
    suffix = "" if path is None else Path(path).suffix.lower().removeprefix(".")
    if suffix == "":
        return None
    if suffix == "ndjson":
        return "jsonl"
    if suffix not in formats:
        message = f"the suffix of {path!r} does not specify an output format. Known suffixes: .{', .'.join(formats)}"
        raise CommandError(message, hint="specify the format with --format", exit_code=USAGE)
    return suffix
