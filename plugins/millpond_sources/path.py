"""The source ``path``: a local folder, or a model file."""

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from millpond.model.source import SourceOptions
from millpond.types.errors import ModelNotFoundError

if TYPE_CHECKING:
    from millpond_checkpoints.model_file import ModelFile

MODEL_FILE_SUFFIX = ".toml"


def find_folder(name: str, options: SourceOptions) -> "Path | ModelFile | None":  # noqa: ARG001  folders have no revisions
    """Return the folder of that name, or the model file.

    Raises:
        ModelNotFoundError: If the folder does not exist, or the name is that of a file.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    if path.suffix == MODEL_FILE_SUFFIX and path.is_file():
        from millpond_checkpoints.model_file import ModelFile  # noqa: PLC0415  most models are folders

        return ModelFile(path)
    if path.exists():
        message = f"{name} is a file: pass the folder that contains config.json"
        raise ModelNotFoundError(message)
    close = _similar_folder(path)
    message = f"there is no folder {name}" + (f"; did you mean {close}?" if close else "")
    raise ModelNotFoundError(message)


def _similar_folder(path: Path) -> Path | None:
    """The folder in the same parent folder with a similar name, ignoring case; None without one."""
    try:
        folders = {entry.name.lower(): entry for entry in path.parent.iterdir() if entry.is_dir()}
    except OSError:
        return None
    close = get_close_matches(path.name.lower(), folders, n=1)
    return folders[close[0]] if close else None
