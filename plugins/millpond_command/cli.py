"""The program ``millpond``: plugins provide commands by name, and only the one that runs is imported."""

import contextlib
import io
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from functools import wraps
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

import millpond
from millpond.plugin.manager import get_plugin_manager
from millpond.plugin.output import results, stdout_to_stderr
from millpond.plugin.registry import Catalog, Entry
from millpond.plugin.specs import CommandSpec
from millpond.types.errors import MillpondError, PluginError

DEBUG: Final = "MILLPOND_DEBUG"
OK, FAILURE, USAGE, PARTIAL, INTERRUPTED = 0, 1, 2, 3, 130
logger = logging.getLogger(__name__)
UNPRINTABLE = re.compile(r"[^\n -~\u00a0-\uffff\U00010000-\U0010ffff]|[\u00ad\u200b-\u200f\u2028-\u202e\ud800-\udfff]")


class CommandError(MillpondError):
    """A command cannot continue.

    Attributes:
        hint: The fix, on a line of its own.
        exit_code: The exit code of the program.
    """

    def __init__(self, message: str, *, hint: str = "", exit_code: int = FAILURE) -> None:
        super().__init__(message)
        self.hint = hint
        self.exit_code = exit_code


class QuickGroup(TyperGroup):
    """A group of commands that is quick on its way to one of them. It may have flags, and no other options."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its flags; those that are not given are False, for typer imports pydantic to make a bool of None."""
        flags = super().get_params(ctx)
        for flag in flags:
            flag.default = flag.default or False
        return flags


class CommandGroup(QuickGroup):
    """The root: lists commands by the summaries of their records, and imports the one that is called."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  the signature is typer's
        """The names of all commands."""
        return list(_commands().names())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  the signature is typer's
        """A stand-in for listings: the command's name and summary, nothing imported."""
        found = [entry for entry in _commands().entries() if entry.spec.name == cmd_name]
        if not found:
            return None
        summary = found[0].spec.summary
        if len(found) > 1:
            summary = f"several plugins bring it: say {' or '.join(entry.qualified for entry in found)}"
        return TyperCommand(cmd_name, help=summary, short_help=summary)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, imported."""
        name = args[0]
        entry = _commands().find(name)
        if entry is not None:
            if name != entry.qualified:
                _warn_of_override(entry)
            return name, _imported(entry), args[1:]
        if ctx.resilient_parsing:  # a shell asks what could come next
            return None, None, args[1:]
        there = _commands().names()
        close = " or ".join(map(repr, get_close_matches(name, there)))
        way_out = f"did you mean {close}?" if close else f"there are: {', '.join(there) or 'none'}"
        message = f"there is no command {name!r}; {way_out}"
        raise CommandError(message, hint="`millpond --help` lists all of them", exit_code=USAGE)

    def invoke(self, ctx: Any) -> None:
        """Run the command; its return value is ignored, ``typer.Exit`` carries exit codes."""
        try:
            super().invoke(ctx)
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if _debug(ctx) and not hasattr(error, "format_message"):
                traceback.print_exc()
            owner = _commands().find(ctx.invoked_subcommand or "")
            if owner is None or owner.origin.rank == "builtin" or _is_explained(error):
                raise
            message = f"{owner.label} failed: {type(error).__name__}: {error}"
            raise CommandError(message, hint="" if _debug(ctx) else f"{DEBUG}=1 shows where it did") from error

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line; in standalone mode, report errors on stderr and exit."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        with _log_lines():
            try:
                code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra) or OK
            except SystemExit as exit_:
                # typer itself exits with 1 when the reader of a pipe is gone: that is no failure of ours.
                code = OK if isinstance(exit_.__context__, BrokenPipeError) else exit_.code
            except KeyboardInterrupt:
                code = INTERRUPTED
            except Exception as error:  # noqa: BLE001  the outermost frame: any error is reported
                code = _tell(error)
        code = _flushed(code)
        _flush_stderr()
        sys.exit(code)


def _commands() -> Catalog[CommandSpec]:
    return get_plugin_manager().registry.commands


def _warn_of_override(entry: Entry[CommandSpec]) -> None:
    """Log that an installed plugin replaces a built-in command."""
    replaced = [other for other in _commands().overridden(entry) if other.origin.rank == "builtin"]
    if entry.origin.rank == "installed" and replaced:
        logger.warning("%s replaces the built-in %s", entry.label, replaced[0].qualified)


def _imported(entry: Entry[CommandSpec]) -> Any:
    app = entry.load()
    if not isinstance(app, typer.Typer):
        message = f"command {entry.spec.name!r} of plugin {entry.origin}: its target is {app!r}, and no typer.Typer"
        raise PluginError(message)
    if not _has_style():
        app.rich_markup_mode = None
    try:
        command = get_command(app)
    except RuntimeError as error:
        message = f"command {entry.spec.name!r} of plugin {entry.origin}: its typer.Typer is empty ({error})"
        raise PluginError(message) from error
    if entry.origin.rank == "builtin":
        _keep_results_apart(command)
    return command


def _keep_results_apart(command: Any) -> None:
    """Let a built-in command, or each of its group, write only results to stdout; what plugins print goes to stderr.

    The commands of other plugins print to stdout as they like.
    """
    subcommands = getattr(command, "commands", {})
    for subcommand in subcommands.values():
        _keep_results_apart(subcommand)
    callback = command.callback
    if subcommands or callback is None:
        return

    @wraps(callback)
    def apart(*args: Any, **options: Any) -> Any:
        with stdout_to_stderr():
            return callback(*args, **options)

    command.callback = apart


def echo(text: str) -> None:
    """Print a line of a result to stdout, wherever ``sys.stdout`` points at present."""
    stream = results()
    if stream is not None:
        typer.echo(text, file=stream)


def _has_style() -> bool:
    """Return True if escape sequences are allowed. Rich by itself writes some even with NO_COLOR."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _debug(ctx: Any = None) -> bool:
    return os.environ.get(DEBUG, "0") not in ("", "0") or (ctx is not None and bool(ctx.params.get("debug")))


def _is_explained(error: Exception) -> bool:
    """True for errors whose message needs no more: Millpond's own, and typer's."""
    return isinstance(error, MillpondError) or hasattr(error, "format_message")


def _tell(error: Exception) -> int:
    """Report an error on stderr, and return the exit code."""
    message, hint, code = _explained(error)
    if message:
        say(message if message.startswith("Usage:") else f"error: {message}")
    if hint:
        say(f"hint: {hint}")
    return code


def _explained(error: Exception) -> tuple[str, str, int]:
    """Return the message, the hint and the exit code of an error."""
    explain: Callable[[], object] | None = getattr(error, "format_message", None)
    if explain is not None:  # typer's own, of what was typed; which class it is depends on its version
        message, path = str(explain()), getattr(getattr(error, "ctx", None), "command_path", None)
        hint = "" if path is None or message.startswith("Usage:") else f"`{path} --help` shows what there is"
        return message, hint, getattr(error, "exit_code", USAGE)
    if isinstance(error, MillpondError):
        return str(error), getattr(error, "hint", ""), getattr(error, "exit_code", FAILURE)
    if isinstance(error, OSError) and error.strerror:
        name = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        return f"{name}{error.strerror}", "", FAILURE
    if isinstance(error, typer.Abort):
        return "aborted", "", FAILURE
    unexpected = f"{type(error).__name__}: {error}"
    return unexpected, "" if _debug() else f"this should not happen; {DEBUG}=1 shows where it did", FAILURE


def say(message: str) -> None:
    """Print a line to stderr; without effect where stderr is closed or its disk is full."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(printable(message), file=sys.stderr, flush=True)  # noqa: T201


def printable(text: str) -> str:
    r"""Return the text with control characters, which could move the cursor or set colours, as ``\x1b``."""
    return UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def _flushed(code: Any) -> Any:
    """Write out what is buffered; Python would do so at its end, and print a traceback when it fails."""
    if code == INTERRUPTED:
        _drop_stdout()  # who interrupts does not want to wait until a reader has taken all of it
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        _drop_stdout()
        if not isinstance(error, BrokenPipeError):
            return code or _tell(error)
    return code


def _flush_stderr() -> None:
    """Write out what is buffered of stderr, or drop it: Python would exit with 120 where it cannot."""
    stream = sys.stderr
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        with contextlib.suppress(OSError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _drop_stdout() -> None:
    with contextlib.suppress(OSError, AttributeError):  # there may be none, or one that is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Lines(logging.Formatter):
    """``warning: message``, as errors are told."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(f"{record.levelname.lower()}: {super().format(record)}")


def _is_shown(record: logging.LogRecord) -> bool:
    """Return True for a line of one of Millpond's packages, or a warning of any."""
    return record.levelno >= logging.WARNING or record.name.partition(".")[0].startswith("millpond")


@contextlib.contextmanager
def _log_lines() -> Iterator[None]:
    """Show warnings on stderr while the command line runs, and with --debug all that Millpond logs."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines())
    handler.addFilter(_is_shown)
    logger = logging.getLogger()
    level = logger.level
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _say_version(asked: bool) -> None:
    if asked:
        print(f"millpond {millpond.__version__}")  # noqa: T201
        raise typer.Exit


def _log_all(asked: bool) -> bool:
    """Show all log lines; called while options are parsed, before plugins are loaded."""
    if asked or _debug():
        logging.getLogger().setLevel(logging.DEBUG)
    return asked


app = typer.Typer(
    name="millpond",
    cls=CommandGroup,
    rich_markup_mode=None,  # Rich would double the time of --help
    pretty_exceptions_enable=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"{DEBUG}=1 in the environment does what --debug does. Plugins bring further commands.",
)


@app.callback()
def root(
    ctx: typer.Context,
    version: Annotated[  # noqa: ARG001  its callback does it
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="Print the version and exit.")
    ] = False,
    debug: Annotated[  # noqa: ARG001  its callback does it
        bool,
        typer.Option("--debug", is_eager=True, callback=_log_all, help="Show tracebacks and all log lines."),
    ] = False,
) -> None:
    """Pooling models on the command line: embed, rerank, score, classify, look into a model.

    Results go to stdout, everything else to stderr.
    """
    if ctx.invoked_subcommand is None:
        say(ctx.get_help())
        raise typer.Exit(USAGE)


def main() -> None:
    """The entry point ``millpond``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an odd locale, or a lone surrogate, is no reason to fail
    app(prog_name="millpond")


if __name__ == "__main__":
    main()
