"""Configuration files: ``millpond.toml`` of a project and of the user."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import typer

from millpond_command.cli import USAGE, CommandError

FILE_NAME: Final = "millpond.toml"
FILE_VARIABLE: Final = "MILLPOND_CONFIG_FILE"


@dataclass(frozen=True)
class ConfigFile:
    """A configuration file.

    Attributes:
        path: Its path.
        values: Its content: options for all commands, and a table for each command.
        of_project: True for the file of a project, which may be part of a download.
    """

    path: Path
    values: Mapping[str, Any]
    of_project: bool = False


def read_config_files() -> list[ConfigFile]:
    """Read the configuration files, that of the project before that of the user.

    Raises:
        CommandError: A file cannot be read, or is not TOML.
    """
    trusted = {user_file(), Path(os.environ.get(FILE_VARIABLE, ""))}
    return [ConfigFile(path, _read(path), of_project=path not in trusted) for path in find_config_files()]


def find_config_files() -> list[Path]:
    """Return the file that ``MILLPOND_CONFIG_FILE`` names, or those of the project and of the user, if they exist.

    Raises:
        CommandError: The file that the variable names does not exist.
    """
    named = os.environ.get(FILE_VARIABLE)
    if named == "":
        return []
    if named is not None:
        if not Path(named).is_file():
            message = f"{FILE_VARIABLE}={named}: no such file"
            raise CommandError(message, exit_code=USAGE)
        return [Path(named)]
    project = next(filter(_is_file, project_candidates()), None)
    return list(dict.fromkeys(path for path in (project, user_file()) if path is not None and _is_file(path)))


def _is_file(path: Path) -> bool:
    """Return True for a file; False in a folder without access, such as the home of another user after ``sudo -u``."""
    try:
        return path.is_file()
    except PermissionError:
        return False


def project_candidates() -> Iterator[Path]:
    """Yield the paths of a project's file: in the working directory, then in each of its parents."""
    try:
        folder = Path.cwd()
    except OSError:  # the working directory was removed
        return
    yield from (parent / FILE_NAME for parent in (folder, *folder.parents))


def user_file() -> Path:
    """Return the path of the user's file, such as ``~/.config/millpond/millpond.toml``."""
    return Path(typer.get_app_dir("millpond")) / FILE_NAME


def _read(path: Path) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415  needed only if there is a file

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        raise CommandError(message, exit_code=USAGE) from error
    except ValueError as error:  # not TOML, or not UTF-8
        message = f"{path} is not TOML: {error}"
        raise CommandError(message, hint="`millpond config show` shows the options in use", exit_code=USAGE) from error
