"""Configuration files: ``millpond.toml`` of a project and of the user."""

import errno
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Final

import typer

from millpond.regular_file import open_regular
from millpond_command.cli import USAGE, CommandError
from millpond_command.stderr import echo_stderr
from millpond_storage.ownership import distrust, is_sticky

FILE_NAME: Final = "millpond.toml"
FILE_VARIABLE: Final = "MILLPOND_CONFIG_FILE"
MAX_BYTES: Final = 1_000_000
FOLDER_FLAGS: Final = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0)
UNUSABLE: Final = {
    errno.EACCES: "this user cannot read it",
    errno.EINVAL: "it is not a regular file",
    errno.ELOOP: "it is a link in a folder that other users can write",
}


class PassedOverError(Exception):
    """The reason why a file is not read."""


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
    """Read the file that ``MILLPOND_CONFIG_FILE`` names, or those of the project and of the user, if they exist.

    The files of the project and of the user are passed over with a warning if another user could have written them.

    Raises:
        CommandError: A file cannot be read, or is not TOML, or the file that the variable names does not exist.
    """
    named = os.environ.get(FILE_VARIABLE)
    if named == "":
        return []
    if named is not None:
        return [ConfigFile(Path(named), _read_named(Path(named)))]
    user = user_file()
    project = next(filter(None, (_read_trusted(path, user) for path in project_candidates())), None)
    files = [project, _read_trusted(user, user)]
    return list({file.path: file for file in files if file is not None}.values())


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


def _read_named(path: Path) -> dict[str, Any]:
    try:
        with open_regular(path) as file:
            return _parse(file, path)
    except FileNotFoundError as error:
        message = f"{FILE_VARIABLE}={path}: no such file"
        raise CommandError(message, exit_code=USAGE) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _read_trusted(path: Path, user: Path) -> ConfigFile | None:
    """Return a file; None if it does not exist, or if another user could have written it."""
    try:
        with _open_trusted(path) as file:
            return ConfigFile(path, _parse(file, path), of_project=path != user)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:  # a folder without access, such as the home of another user after `sudo -u`
        return None
    except PassedOverError as error:
        _warn(f"{path} is not read: {error}. If you trust it, set {FILE_VARIABLE}={path}")
        return None
    except OSError as error:
        raise _unreadable(path, error) from error


def _open_trusted(path: Path) -> BinaryIO:
    """Open a file that only this user and root can write, in a folder in which no other user can replace it.

    The open file and the open folder are checked, so that replacing them afterwards has no effect.

    Raises:
        PassedOverError: If another user could have written it, or it is not a regular file.
        OSError: If it cannot be opened.
    """
    if os.open not in os.supports_dir_fd:
        return open_regular(path)
    folder = os.open(path.parent, FOLDER_FLAGS)
    try:
        state = os.fstat(folder)
        reason = distrust(state)
        is_shared = reason is not None and is_sticky(state) and state.st_uid in (0, os.geteuid())
        os.stat(path.name, dir_fd=folder, follow_symlinks=False)  # most folders have no such file
        if reason is not None and not is_shared:
            message = f"its folder {reason}"
            raise PassedOverError(message)
        try:
            file = open_regular(Path(path.name), folder=folder, follow=not is_shared)
        except OSError as error:
            reason = UNUSABLE.get(error.errno or 0)
            if reason is None:
                raise
            raise PassedOverError(reason) from error
    finally:
        os.close(folder)
    reason = distrust(os.fstat(file.fileno()))
    if reason is not None:
        file.close()
        message = f"it {reason}"
        raise PassedOverError(message)
    return file


@lru_cache(maxsize=64)  # once for each file: several parts of a command read the files
def _warn(message: str) -> None:
    echo_stderr(f"warning: {message}")


def _parse(file: BinaryIO, path: Path) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415  needed only if there is a file

    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        message = f"{path} is larger than {MAX_BYTES} bytes, the maximum for a configuration file"
        raise CommandError(message, exit_code=USAGE)
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:  # not TOML, or not UTF-8
        message = f"{path} is not TOML: {error}"
        raise CommandError(message, hint="`millpond config show` shows the options in use", exit_code=USAGE) from error


def _unreadable(path: Path, error: OSError) -> CommandError:
    return CommandError(f"cannot read {path}: {error.strerror}", exit_code=USAGE)
