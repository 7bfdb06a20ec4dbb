"""The source addon_name: models in the folder that the environment variable ADDON_NAME_MODELS names."""

import os
from pathlib import Path

from millpond.model.source import SourceOptions
from millpond.types.errors import ModelNotFoundError

VARIABLE = "ADDON_NAME_MODELS"


def find_model(name: str, options: SourceOptions) -> Path | None:
    """Return the folder of a model; None if this source does not have it.

    Raises:
        ModelNotFoundError: If a revision is requested.
    """
    shelf = os.environ.get(VARIABLE)
    if not shelf or Path(name).name != name:  # a name with a slash could lead out of the folder
        return None
    folder = Path(shelf) / name
    if not (folder / "config.json").is_file():
        return None
    if options.revision is not None:
        raise ModelNotFoundError(f"{folder} has no revisions; requested: {options.revision!r}")
    return folder
