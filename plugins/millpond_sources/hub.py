"""The sources ``cache`` and ``hub``: the Hugging Face Hub's local cache, and downloads from the hub.

The cache is read without huggingface_hub's download functions, which take half a second to import.
"""

import json
import re
from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import constants

from millpond.model.source import SourceOptions
from millpond.types.errors import ModelNotFoundError

REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
MODEL_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "artifact.metadata")
PICKLE_FILES = ("*.bin", "*.pt")
IGNORED_FILES = ("onnx/*", "openvino/*", "*.onnx", "*.h5", "*.msgpack")
TREE_VERSION = 1  # the supported version of file listings in huggingface_hub's cache


def find_in_cache(name: str, options: SourceOptions) -> Path | None:
    """Return the cached snapshot of a hub id, without network access.

    Raises:
        ModelNotFoundError: If the model is not in the cache, or is incomplete.
    """
    _check_id(name)
    cache = Path(options.download_dir or constants.HF_HUB_CACHE).expanduser()
    repository = cache / f"models--{name.replace('/', '--')}"
    commit = _commit(repository, options.revision or constants.DEFAULT_REVISION)
    snapshot = repository / "snapshots" / commit
    if not commit or not snapshot.is_dir():
        message = f"{_with_revision(name, options)} is not in {cache}{_suggestion(name, cache)}"
        raise ModelNotFoundError(message)
    missing = [
        file for file in _listed(repository / "trees" / f"{commit}.json", options) if not (snapshot / file).exists()
    ]
    if missing:
        message = f"the snapshot {snapshot} is incomplete: it lacks {', '.join(missing[:3])}"
        raise ModelNotFoundError(message)
    if not any(snapshot.rglob("*.safetensors")) and not any(snapshot.rglob("*.bin")):
        # Other programs may have downloaded only a config or a tokenizer; the model may still be in other sources.
        message = f"the snapshot {snapshot} has no weights"
        raise ModelNotFoundError(message)
    return _with_config(snapshot)


def fetch(name: str, options: SourceOptions) -> Path | None:
    """Return the snapshot of a hub id, and download files that are not in the cache.

    Raises:
        ModelNotFoundError: If the download fails.
    """
    _check_id(name)
    from huggingface_hub import snapshot_download  # noqa: PLC0415  takes half a second to import
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled  # noqa: PLC0415

    try:
        folder = snapshot_download(
            name,
            revision=options.revision,
            token=options.token,
            cache_dir=options.download_dir,
            allow_patterns=_download_patterns(options),
            ignore_patterns=list(IGNORED_FILES),
        )
    except (OfflineModeIsEnabled, HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        if isinstance(error, OfflineModeIsEnabled) or constants.HF_HUB_OFFLINE:
            raise ModelNotFoundError("HF_HUB_OFFLINE is set: no downloads") from error
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        message = f"the download of {_with_revision(name, options)} from {constants.ENDPOINT} failed: {first}"
        raise ModelNotFoundError(message) from error
    return _with_config(Path(folder))


def _suggestion(name: str, cache: Path) -> str:
    """The hint that names a similar hub id in the cache."""
    if not cache.is_dir():
        return ""
    ids = [entry.name.removeprefix("models--").replace("--", "/") for entry in cache.glob("models--*")]
    by_lower = {known.lower(): known for known in ids if known != name}
    close = get_close_matches(name.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""


def _check_id(name: str) -> None:
    if not REPO_ID.fullmatch(name) or ".." in name:
        message = f"{name!r} is not a hub id (organisation/name)"
        raise ModelNotFoundError(message)


def _commit(repository: Path, revision: str) -> str:
    """The commit that a cached branch or tag points to, or the revision itself; empty for an unsafe path."""
    if ".." in Path(revision).parts or Path(revision).is_absolute():
        return ""
    ref = repository / "refs" / revision
    return ref.read_text(encoding="utf-8").strip() if ref.is_file() else revision


def _listed(tree: Path, options: SourceOptions) -> list[str]:
    """The files that the snapshot should contain, from huggingface_hub's listing; empty without a listing."""
    try:
        listing = json.loads(tree.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    if not isinstance(listing, dict) or listing.get("format_version") != TREE_VERSION:
        return []
    files = [str(file) for file in listing.get("files") or ()]
    return [file for file in files if _matches(file, _download_patterns(options)) and not _matches(file, IGNORED_FILES)]


def _download_patterns(options: SourceOptions) -> list[str]:
    return [*MODEL_FILES, *(PICKLE_FILES if options.allow_pickle else ())]


def _matches(file: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(file, pattern) for pattern in patterns)


def _with_revision(name: str, options: SourceOptions) -> str:
    return f"{name} at revision {options.revision}" if options.revision else name


def _with_config(snapshot: Path) -> Path:
    if not (snapshot / "config.json").exists() and not (snapshot / "modules.json").exists():
        message = f"the snapshot {snapshot} has no config.json"
        raise ModelNotFoundError(message)
    return snapshot
