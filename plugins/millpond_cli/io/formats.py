"""The format of results: the one that was asked for, else by the name of the file. Imports no torch and no numpy."""

from collections.abc import Sequence
from pathlib import Path

from millpond.plugin.manager import get_plugin_manager
from millpond.plugin.registry import Entry
from millpond.plugin.specs import TaskSpec
from millpond.types.errors import UnknownNameError
from millpond_cli.io.output import is_stdout
from millpond_cli.io.tables import is_terminal
from millpond_command.cli import USAGE, CommandError

TABLE = "table"  # for a person
RECORDS = ("jsonl", "json", "csv")
BINARY = ("npy", "npz")
RAW = "raw"
PLUGIN = "plugin"  # the task whose results may be anything
OF_PLUGINS = (*RECORDS, "npy", RAW)


def choose_format(asked: str | None, path: str | None, known: Sequence[str], *, plain: str | None = None) -> str:
    """Return the format that was asked for, else the one that the file's name states.

    Args:
        asked: The value of ``--format``.
        path: The value of ``--output``.
        known: The formats that can hold the results.
        plain: The format where nothing states one; None for a table on a terminal if that is known, else JSONL.

    Raises:
        CommandError: It is none of those that are known.
    """
    if plain is None:
        plain = TABLE if TABLE in known and is_stdout(path) and is_terminal() else RECORDS[0]
    chosen = asked or _format_of(path, [name for name in known if name != TABLE]) or plain
    if chosen not in known:
        message = f"--format {chosen!r}: expected one of {', '.join(known)}"
        raise CommandError(message, exit_code=USAGE)
    return chosen


def choose_plugin_format(asked: str | None, path: str | None) -> str:
    """The format of results of the task ``plugin``; a file name that states none of the others is for raw bytes.

    Raises:
        CommandError: It is none that can hold them.
    """
    suffix = "" if path is None else Path(path).suffix.lower().removeprefix(".")
    if asked == "npz" or (asked is None and suffix == "npz"):
        message = "npz holds numbers, and what an IO processor of a plugin's makes may be anything"
        raise CommandError(message, hint=f"--format {', '.join(OF_PLUGINS)} hold it", exit_code=USAGE)
    if asked is None and suffix not in {"", "ndjson", *OF_PLUGINS}:
        return RAW
    return choose_format(asked, path, OF_PLUGINS)


def gives_arrays(task: str) -> bool:
    """Return True if the results of a task are arrays: each format holds such, only JSON holds others.

    Raises:
        CommandError: There is no such task.
    """
    if task == PLUGIN:
        return False
    from millpond.types.outputs import ArrayOutput  # noqa: PLC0415  --help does without

    return issubclass(_task(task).load(), ArrayOutput)


def _task(name: str) -> Entry[TaskSpec]:
    try:
        return get_plugin_manager().registry.tasks.get(name)
    except UnknownNameError as error:
        raise CommandError(f"--pooling-task {name!r}: {error}", exit_code=USAGE) from error


def check_vectors(task: str, chosen: str) -> None:
    """Refuse a format that has no place for what a task gives.

    Raises:
        CommandError: It has none, or there is no such task.
    """
    per_token = _task(task).spec.per_token
    if per_token and chosen in ("csv", "npy"):
        message = f"{chosen} holds one vector a text, and the task {task} gives one a token"
        raise CommandError(message, hint="--format npz, jsonl or json holds them", exit_code=USAGE)
    if not per_token and chosen == "npz":
        message = f"npz holds vectors of tokens, and the task {task} gives one vector a text"
        raise CommandError(message, hint="--format npy holds them", exit_code=USAGE)


def check_binary(chosen: str, path: str | None, *, with_text: bool, needs_id: bool) -> None:
    """Refuse what an array has no place for, and what a terminal cannot show.

    Raises:
        CommandError: The format is an array, and something is asked that it cannot do.
    """
    if chosen not in {*BINARY, RAW}:
        return
    for option, given in (("--with-text", with_text), ("--id-key", needs_id)):
        if given:
            message = f"{option}: {chosen} holds {'one result' if chosen == RAW else 'vectors'} alone"
            raise CommandError(message, hint="--format jsonl, json or csv holds more", exit_code=USAGE)
    if is_stdout(path) and is_terminal():
        message = f"{chosen} is binary, and stdout is a terminal"
        raise CommandError(message, hint="--output FILE writes to a file", exit_code=USAGE)


def _format_of(path: str | None, known: Sequence[str]) -> str | None:
    suffix = "" if path is None else Path(path).suffix.lower().removeprefix(".")
    if suffix == "":
        return None
    if suffix == "ndjson":
        return "jsonl"
    if suffix not in known:
        message = f"the name {path!r} does not say how to write the results; known are .{', .'.join(known)}"
        raise CommandError(message, hint="--format says it", exit_code=USAGE)
    return suffix
