"""The program ``millpond``: plugins provide its commands, and only the command that runs is imported."""

import contextlib
import io
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from millpond.plugin.manager import get_plugin_manager
from millpond.plugin.output import results, stdout_to_stderr
from millpond.plugin.registry import Catalog, Entry
from millpond.types.errors import MillpondError, PluginError, quoted
from millpond_command.command_list import write_commands
from millpond_command.kinds import CommandSpec
from millpond_command.program import INTERRUPTED as INTERRUPTED  # noqa: PLC0414  for commands
from millpond_command.program import InterruptibleImport, version
from millpond_command.stderr import echo_stderr as echo_stderr  # noqa: PLC0414  as above
from millpond_command.stderr import flush_stderr, logging_to_stderr
from millpond_command.stderr import printable as printable  # noqa: PLC0414  as above

if TYPE_CHECKING:
    from millpond_command.defaults import Default

DEBUG: Final = "MILLPOND_DEBUG"
HELP, HELP_OPTIONS = "help", frozenset({"-h", "--help"})
OK, FAILURE, USAGE, PARTIAL = 0, 1, 2, 3
TRACEBACK_HINT: Final = f"set {DEBUG}=1 to show the traceback"
logger = logging.getLogger(__name__)


class CommandError(MillpondError):
    """A command cannot continue.

    Attributes:
        hint: How to fix it, printed on a separate line.
        exit_code: The exit code of the program.
    """

    def __init__(self, message: str, *, hint: str = "", exit_code: int = FAILURE) -> None:
        super().__init__(message)
        self.hint = hint
        self.exit_code = exit_code


class QuickGroup(TyperGroup):
    """A group of commands that starts quickly. Its options may only be flags."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the flags, with the default False: typer imports pydantic to convert None to a bool."""
        flags = super().get_params(ctx)
        for flag in flags:
            flag.default = flag.default or False
        return flags


class CommandGroup(QuickGroup):
    """The root command: lists commands by the summaries of their records, and imports only the one that runs."""

    _configured: "Sequence[Default]" = ()

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the flags; ``--install-completion`` also repairs the script of zsh."""
        flags = super().get_params(ctx)
        for flag in flags:
            if flag.name == "install_completion" and not isinstance(flag.callback, _CompletionInstaller):
                flag.callback = _CompletionInstaller(flag.callback)
        return flags

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  the signature is typer's
        """Return the names of all commands."""
        return list(_commands().names())

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands under their headings."""
        headings = {entry.spec.name: entry.spec.group for entry in _commands().entries()}
        write_commands(formatter, ((it, name, self.get_command(ctx, name).short_help) for name, it in headings.items()))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  the signature is typer's
        """Return a placeholder with the command's name and summary, for listings; imports nothing."""
        entries = [entry for entry in _commands().entries() if entry.spec.name == cmd_name]
        if not entries:
            return None
        summary = entries[0].spec.summary
        if len(entries) > 1:
            summary = f"ambiguous: use {' or '.join(entry.qualified for entry in entries)}"
        summary = printable(summary)
        return TyperCommand(cmd_name, help=summary, short_help=summary)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import and return the command that was called. ``help COMMAND`` is the same as ``COMMAND --help``."""
        if args[0] == HELP and _commands().find(HELP) is None and not ctx.resilient_parsing:
            args = [*args[1:], "--help"]
            if len(args) == 1:
                echo(ctx.get_help())
                raise typer.Exit
        name = args[0]
        entry = _commands().find(name)
        if entry is not None:
            if name != entry.qualified:
                _warn_about_override(entry)
            command = _load_command(entry)
            if not ctx.resilient_parsing and not HELP_OPTIONS.intersection(args):
                _check_folder()
                ctx.default_map = self._configured_values(command, [entry.spec.name, *args[1:]], name)
            return name, command, args[1:]
        if ctx.resilient_parsing:  # shell completion
            return None, None, args[1:]
        names = _commands().names()
        close = " or ".join(map(repr, get_close_matches(name, names)))
        advice = f"Did you mean {close}?" if close else f"Available: {', '.join(names) or 'none'}"
        message = f"Unknown command {name!r}. {advice}"
        raise CommandError(message, hint="`millpond --help` lists all commands", exit_code=USAGE)

    def _configured_values(self, command: Any, words: Sequence[str], name: str) -> dict[str, Any]:
        """Return the values of options from the environment and configuration files, as typer's ``default_map``."""
        from millpond_command.config_files import read_config_files  # noqa: PLC0415  imports this module
        from millpond_command.defaults import defaults_of  # noqa: PLC0415  as above

        subcommands = getattr(command, "commands", {})
        subcommand = next((word for word in words[1:] if word in subcommands), None)
        if subcommands and subcommand is None:
            return {}
        path = [word for word in (words[0], subcommand) if word is not None]
        defaults = defaults_of(subcommands.get(subcommand, command), path, read_config_files())
        passed = {word.partition("=")[0] for word in words}
        self._configured = [it for it in defaults.values() if it.option not in passed]
        values = {parameter: it.value for parameter, it in defaults.items()}
        return {name: values if subcommand is None else {subcommand: values}}

    def _origins(self, message: str) -> list[str]:
        """Return hints that name the origins of configured options that an error message mentions."""
        mentioned = (it for it in self._configured if re.search(rf"(?<![\w-]){it.option}(?![\w-])", message))
        return [f"{it.option} is set by {it.origin}" for it in mentioned]

    def invoke(self, ctx: Any) -> None:
        """Run the command. Its return value is ignored; exit codes come from ``typer.Exit``."""
        try:
            super().invoke(ctx)
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if _is_debugging(ctx) and not hasattr(error, "format_message"):
                traceback.print_exc()
            owner = _commands().find(ctx.invoked_subcommand or "")
            if owner is None or owner.origin.rank == "builtin" or _is_explained(error):
                raise
            message = f"{owner.label} failed: {quoted(error)}"
            raise CommandError(message, hint="" if _is_debugging(ctx) else TRACEBACK_HINT) from error

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
        with logging_to_stderr():
            try:
                code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra) or OK
            except SystemExit as exit_:
                # Typer exits with 1 when the reader of a pipe has closed it; that is not an error.
                code = OK if isinstance(exit_.__context__, BrokenPipeError) else exit_.code
            except KeyboardInterrupt:
                code = INTERRUPTED
            except Exception as error:  # noqa: BLE001  outermost frame: every error is reported
                code = _report(error, self._origins)
        code = _flush_stdout(code)
        flush_stderr()
        sys.exit(code)


class _CompletionInstaller:
    """The callback of ``--install-completion``: that of typer, which ends the program, then a repair."""

    def __init__(self, install: Callable[..., Any]) -> None:
        self._install = install

    def __call__(self, *arguments: Any) -> Any:
        try:
            return self._install(*arguments)
        except SystemExit:
            from millpond_command.completion import repair_zsh_script  # noqa: PLC0415  not needed otherwise

            repair_zsh_script("millpond")
            raise


def _commands() -> Catalog[CommandSpec]:
    return get_plugin_manager().registry[CommandSpec]


def _warn_about_override(entry: Entry[CommandSpec]) -> None:
    """Log a warning if an installed plugin replaces a built-in command."""
    replaced = [other for other in _commands().overridden(entry) if other.origin.rank == "builtin"]
    if entry.origin.rank == "installed" and replaced:
        logger.warning("%s replaces the built-in %s", entry.label, replaced[0].qualified)


def _check_folder() -> None:
    """Refuse to run in a folder that was removed: libraries, such as MKL, end the process there without an explanation.

    Raises:
        CommandError: The working directory does not exist.
    """
    try:
        os.getcwd()  # noqa: PTH109  pathlib calls it, too
    except OSError as error:
        message = f"the working directory cannot be read: {error.strerror}"
        raise CommandError(message, hint="change to a folder that exists") from error


def _load_command(entry: Entry[CommandSpec]) -> Any:
    with InterruptibleImport():
        app = entry.load()
    if not isinstance(app, typer.Typer):
        message = f"command {entry.spec.name!r} of plugin {entry.origin}: its target is {app!r}, not a typer.Typer"
        raise PluginError(message)
    if not _supports_style():
        app.rich_markup_mode = None
    try:
        command = get_command(app)
    except RuntimeError as error:
        message = f"command {entry.spec.name!r} of plugin {entry.origin}: its typer.Typer is empty ({error})"
        raise PluginError(message) from error
    if entry.origin.rank == "builtin":
        _reserve_stdout(command)
    return command


def _reserve_stdout(command: Any) -> None:
    """Reserve stdout for the results of a built-in command or group: text that plugins print goes to stderr.

    Commands of other plugins may print to stdout.
    """
    subcommands = getattr(command, "commands", {})
    for subcommand in subcommands.values():
        _reserve_stdout(subcommand)
    callback = command.callback
    if subcommands or callback is None:
        return

    @wraps(callback)
    def redirected(*args: Any, **options: Any) -> Any:
        with stdout_to_stderr():
            return callback(*args, **options)

    command.callback = redirected


def echo(text: str) -> None:
    """Print a line of a result to stdout, even while ``sys.stdout`` is redirected to stderr."""
    stream = results()
    if stream is not None:
        typer.echo(text, file=stream)


def _supports_style() -> bool:
    """Return True if escape sequences are allowed. Rich writes some even with NO_COLOR."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _is_debugging(ctx: Any = None) -> bool:
    return os.environ.get(DEBUG, "0") not in ("", "0") or (ctx is not None and bool(ctx.params.get("debug")))


def _is_explained(error: Exception) -> bool:
    """Return True for errors of Millpond and typer, whose messages need no addition."""
    return isinstance(error, MillpondError) or hasattr(error, "format_message")


def _report(error: Exception, origins: Callable[[str], list[str]] | None = None) -> int:
    """Print an error to stderr and return the exit code; ``origins`` returns further hints for a message."""
    message, hint, code = _explain(error)
    if message:
        echo_stderr(message if message.startswith("Usage:") else f"error: {message}")
    for line in [*filter(None, [hint]), *(origins(message) if origins else ())]:
        echo_stderr(f"hint: {line}")
    return code


def _explain(error: Exception) -> tuple[str, str, int]:
    """Return the message, the hint and the exit code of an error."""
    explain: Callable[[], object] | None = getattr(error, "format_message", None)
    if explain is not None:  # a usage error of typer, whose class depends on its version
        message, path = _usage_message(error, explain), getattr(getattr(error, "ctx", None), "command_path", None)
        hint = "" if path is None or message.startswith("Usage:") else f"`{path} --help` lists arguments and options"
        return message, hint, getattr(error, "exit_code", USAGE)
    if isinstance(error, MillpondError):
        return str(error), getattr(error, "hint", ""), getattr(error, "exit_code", FAILURE)
    if isinstance(error, OSError) and error.strerror:
        name = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        return f"{name}{error.strerror}", "", FAILURE
    if isinstance(error, typer.Abort):
        return "aborted", "", FAILURE
    unexpected = quoted(error)
    return unexpected, "" if _is_debugging() else f"this is unexpected; {TRACEBACK_HINT}", FAILURE


def _usage_message(error: Exception, explain: Callable[[], object]) -> str:
    """Return the message of a usage error of typer; for an unknown option, with the most similar one."""
    unknown = getattr(error, "option_name", "")
    close = get_close_matches(unknown, getattr(error, "possibilities", None) or (), n=1, cutoff=0)
    return f"No such option: {unknown}. Did you mean {close[0]!r}?" if close else str(explain())


def _flush_stdout(code: Any) -> Any:
    """Flush stdout and return the exit code. Python would flush at exit, and print a traceback if that fails."""
    if code == INTERRUPTED:
        _drop_stdout()  # after an interrupt, do not wait for a slow reader of the pipe
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        _drop_stdout()
        if not isinstance(error, BrokenPipeError):
            return code or _report(error)
    return code


def _drop_stdout() -> None:
    with contextlib.suppress(OSError, AttributeError):  # stdout may be None or not a file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_version(requested: bool) -> None:
    if requested:
        print(version())  # noqa: T201
        raise typer.Exit


def _enable_debug_log(requested: bool) -> bool:
    """Log at level DEBUG. Typer calls this while it parses the options, before plugins are loaded."""
    if requested or _is_debugging():
        logging.getLogger().setLevel(logging.DEBUG)
    return requested


app = typer.Typer(
    name="millpond",
    cls=CommandGroup,
    rich_markup_mode=None,  # Rich would double the time of --help
    pretty_exceptions_enable=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"`millpond COMMAND --help` shows the options of a command, with examples. Plugins can add commands. The "
    f"environment variable {DEBUG}=1 has the same effect as --debug.",
)


@app.callback()
def root(
    ctx: typer.Context,
    version: Annotated[  # noqa: ARG001  handled by its callback
        bool,
        typer.Option("--version", "-V", is_eager=True, callback=_print_version, help="Print the version and exit."),
    ] = False,
    debug: Annotated[  # noqa: ARG001  handled by its callback
        bool,
        typer.Option("--debug", is_eager=True, callback=_enable_debug_log, help="Show tracebacks and all log lines."),
    ] = False,
) -> None:
    """Run pooling models: embed, classify, score and rerank texts.

    Results are written to stdout, everything else to stderr.
    """
    if ctx.invoked_subcommand is None:
        echo_stderr(ctx.get_help())
        raise typer.Exit(USAGE)


def main() -> None:
    """Run the program: the entry point ``millpond``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # do not fail on a lone surrogate or a locale without UTF-8
    app(prog_name="millpond")


if __name__ == "__main__":
    main()
