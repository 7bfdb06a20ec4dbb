"""The source ``path``: a folder on this machine."""

from difflib import get_close_matches
from pathlib import Path

from millpond.loading.source import SourceOptions
from millpond.types.errors import ModelNotFoundError


def find_folder(name: str, options: SourceOptions) -> Path | None:  # noqa: ARG001  a folder has no revisions
    """The folder of that name.

    Raises:
        ModelNotFoundError: If there is a file of that name, or the name can only be a path and nothing is there.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    if path.exists():
        message = f"{name} is a file: pass the folder that holds config.json"
        raise ModelNotFoundError(message)
    close = _alike(path)
    message = f"there is no folder {name}" + (f"; did you mean {close}?" if close else "")
    raise ModelNotFoundError(message)


def _alike(path: Path) -> Path | None:
    """The folder beside it with nearly the same name, whatever the case of its letters."""
    try:
        folders = {entry.name.lower(): entry for entry in path.parent.iterdir() if entry.is_dir()}
    except OSError:
        return None
    close = get_close_matches(path.name.lower(), folders, n=1)
    return folders[close[0]] if close else None
