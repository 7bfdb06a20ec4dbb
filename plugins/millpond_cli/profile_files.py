"""Where ``millpond tune`` keeps profiles: finding the place, storing, removing, listing. No torch."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from errno import EISDIR
from pathlib import Path
from typing import Any

from millpond.cli import USAGE, CommandError
from millpond.errors import InvalidInputError
from millpond.loading.profile import VARIABLE, Profile, ProfileKey, profile_folder, stored_profiles, write_profile
from millpond.machine import available_cores, processor_name
from millpond_cli.tables import table


def folder() -> Path:
    """The folder that profiles are kept in.

    Raises:
        CommandError: There is none.
    """
    found = profile_folder()
    if found is None:
        message = f"there is no folder for profiles: {VARIABLE}=0 says so, or this user has no home"
        hint = f"--output FILE stores a profile in a file, {VARIABLE}=FOLDER in another folder"
        raise CommandError(message, hint=hint, exit_code=USAGE)
    return found


def place_of(key: ProfileKey) -> Path:
    """The file that a profile is found in by itself."""
    return folder() / key.file_name


def writable(path: Path) -> Path:
    """The path, if a file can be written there: who finds out after a minute of measuring has lost the minute.

    Raises:
        CommandError: It cannot.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            return path
    except OSError as error:
        raise _not_written(path, error) from error


def store(path: Path, profile: Profile) -> None:
    """Store a profile, whole or not at all.

    Raises:
        CommandError: It cannot be written.
    """
    try:
        write_profile(path, profile)
    except OSError as error:
        raise _not_written(path, error) from error


def forget(path: Path) -> str:
    """Remove a profile; what is to be told."""
    try:
        path.unlink()
    except FileNotFoundError:
        return f"There was none: {path}"
    return f"Removed: {path}"


def records() -> list[dict[str, Any]]:
    """The profiles that are stored, as JSON has them."""
    return [_record(path, found) for path, found in stored_profiles(folder())]


def lines_of(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The same for a person."""
    rows = [_row(it["file"], Profile.model_validate(it["profile"])) for it in found if it["profile"] is not None]
    yield f"{len(rows) or 'No'} profile{'' if len(rows) == 1 else 's'} in {folder()}"
    if rows:
        yield ""
        yield table([["MODEL", "COMPUTES IN", "ON", "SETTINGS", "GAIN", "MEASURED", "FILE"], *rows])
    problems = [it["problem"] for it in found if it["problem"] is not None]
    if problems:
        yield ""
        yield from problems


def _record(path: Path, found: Profile | InvalidInputError) -> dict[str, Any]:
    if isinstance(found, InvalidInputError):
        return {"file": str(path), "profile": None, "problem": str(found)}
    return {"file": str(path), "profile": found.model_dump(), "problem": None}


def _row(file: str, profile: Profile) -> list[str]:
    machine, measured = profile.key.machine, profile.measured
    here = (machine.processor, machine.cores) == (processor_name(), available_cores())
    return [
        str(profile.key.model),
        str(profile.key.mode),
        "this machine" if here else str(machine),
        str(profile.settings),
        "" if measured.gain is None else f"{measured.gain:.2f}",
        measured.date,
        Path(file).name,
    ]


def _not_written(path: Path, error: OSError) -> CommandError:
    hint = "--output FILE stores the profile elsewhere, --dry-run nowhere"
    return CommandError(f"cannot write {path}: {error.strerror or error}", hint=hint)
