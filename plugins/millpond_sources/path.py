"""The source ``path``: a folder on this machine."""

from pathlib import Path

from millpond.errors import ModelNotFoundError
from millpond.loading.source import SourceOptions


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
    message = f"there is no folder {name}"
    raise ModelNotFoundError(message)
