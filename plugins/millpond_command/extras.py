"""The optional dependencies of Millpond: checks that they are installed, and commands that install them."""

import json
from collections.abc import Sequence
from importlib.util import find_spec

from importlib_metadata import PackageNotFoundError, distribution

DISTRIBUTION = "millpond"


def install_command(extra: str) -> str:
    """Return the command that installs an extra in this environment.

    If Millpond is installed from a folder, such as a clone, the command names that folder. Otherwise it names the
    packages of the extra, because they are on PyPI even if Millpond is not.

    Args:
        extra: The extra, such as ``serve``.
    """
    try:
        installed = distribution(DISTRIBUTION)
    except PackageNotFoundError:  # imported from a folder on sys.path
        return f"pip install '.[{extra}]' in a clone of Millpond"
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    if "dir_info" in origin:
        from urllib.parse import unquote, urlparse  # noqa: PLC0415  needed for an error only
        from urllib.request import url2pathname  # noqa: PLC0415  as above; imports ssl

        folder = url2pathname(unquote(urlparse(origin["url"]).path))
        editable = "-e " if origin["dir_info"].get("editable") else ""
        return f"pip install {editable}'{folder}[{extra}]'"
    needed = (text.split(";") for text in installed.requires or () if ";" in text)
    names = [name.strip() for name, marker in needed if f"extra == '{extra}'" in marker.replace('"', "'")]
    return f"pip install {' '.join(map(repr, names))}"


def check_extra(command: str, extra: str, modules: Sequence[str]) -> None:
    """Check that the modules that an extra installs can be imported, without importing them.

    Args:
        command: The command that needs them, such as ``millpond serve``.
        extra: The extra, such as ``serve``.
        modules: The names of the modules.

    Raises:
        CommandError: If one is missing.
    """
    from millpond_command.cli import USAGE, CommandError  # noqa: PLC0415  callers of the other function need no typer

    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        message = f"`{command}` needs {', '.join(missing)}, which the extra {extra!r} installs"
        raise CommandError(message, hint=install_command(extra), exit_code=USAGE)
