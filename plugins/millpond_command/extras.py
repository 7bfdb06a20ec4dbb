"""Check that the optional dependencies of a command are installed."""

from collections.abc import Sequence
from importlib.util import find_spec

from millpond_command.cli import USAGE, CommandError
from millpond_command.installation import install_command


def check_extra(command: str, extra: str, modules: Sequence[str]) -> None:
    """Check that the modules that an extra installs can be imported, without importing them.

    Args:
        command: The command that needs them, such as ``millpond serve``.
        extra: The extra, such as ``serve``.
        modules: The names of the modules.

    Raises:
        CommandError: If one is missing.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        message = f"`{command}` needs {', '.join(missing)}, which the extra {extra!r} installs"
        raise CommandError(message, hint=install_command(extra), exit_code=USAGE)
