"""The sources ``cache`` and ``hub``: the Hugging Face Hub, on this machine and over the network."""

import re
from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

from millpond.errors import ModelNotFoundError
from millpond.loading.source import SourceOptions

REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
PICKLES = ("*.bin", "*.pt")
LEFT_OUT = ("onnx/*", "openvino/*", "*.onnx", "*.h5", "*.msgpack")


def find_in_cache(name: str, options: SourceOptions) -> Path | None:
    """The snapshot of a hub id that is in the cache already; no network is used."""
    return _snapshot(name, options, local_files_only=True)


def fetch(name: str, options: SourceOptions) -> Path | None:
    """The snapshot of a hub id, fetched where the cache lacks it."""
    return _snapshot(name, options, local_files_only=False)


def _snapshot(name: str, options: SourceOptions, *, local_files_only: bool) -> Path | None:
    if not REPO_ID.fullmatch(name) or ".." in name:
        message = f"{name!r} is not a hub id (organisation/name)"
        raise ModelNotFoundError(message)
    try:
        folder = snapshot_download(
            name,
            revision=options.revision,
            token=options.token,
            cache_dir=options.download_dir,
            allow_patterns=[*FILES, *(PICKLES if options.allow_pickle else ())],
            ignore_patterns=list(LEFT_OUT),
            local_files_only=local_files_only,
        )
    except (OfflineModeIsEnabled, HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise ModelNotFoundError(_reason(name, options, error, local_files_only=local_files_only)) from error
    path = Path(folder)
    if not (path / "config.json").exists() and not (path / "modules.json").exists():
        message = f"the snapshot {path} holds no config.json"
        raise ModelNotFoundError(message)
    return path


def _reason(name: str, options: SourceOptions, error: Exception, *, local_files_only: bool) -> str:
    revision = f" at revision {options.revision}" if options.revision else ""
    if local_files_only:
        return f"{name}{revision} is not in {options.download_dir or constants.HF_HUB_CACHE}"
    if isinstance(error, OfflineModeIsEnabled) or constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE forbids the network"
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return f"fetching {name}{revision} from {constants.ENDPOINT} failed: {first}"
