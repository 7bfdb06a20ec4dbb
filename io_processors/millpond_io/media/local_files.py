"""Reading of ``file://`` URLs: only files below one folder, without following links out of it."""

import logging
import os
import stat
from pathlib import Path
from urllib.parse import unquote_to_bytes

from millpond.types.errors import InvalidInputError

logger = logging.getLogger(__name__)
PARAMETER = "multi_modal_data"
SCHEME = "file://"
HOSTS = ("", "localhost")
NOT_ALLOWED = (
    "the file may not be read: file:// URLs are limited to files below allowed_local_media_path (of a server: "
    "--allowed-local-media-path)"
)


def read_below(folder: str, url: str, *, max_bytes: int) -> bytes:
    """Return the contents of a file.

    Args:
        folder: The allowed folder; empty for none.
        url: The URL, such as ``file:///path``, with percent-encoding.
        max_bytes: The maximum size of the file.

    Raises:
        InvalidInputError: If the file is not below the folder, is missing, is not a regular file, or is too large. The
            error is the same for files outside the folder and missing files.
    """
    host, slash, path = url[len(SCHEME) :].partition("/")
    name = os.fsdecode(unquote_to_bytes(slash + path))
    if not folder or host.lower() not in HOSTS or "\0" in name:
        raise InvalidInputError(NOT_ALLOWED, parameter=PARAMETER)
    try:
        root = Path(folder).resolve(strict=True)
        relative = Path(name).resolve(strict=True).relative_to(root)
        with os.fdopen(_open_below(root, relative), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InvalidInputError(NOT_ALLOWED, parameter=PARAMETER)
            content = file.read(max_bytes + 1)
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, InvalidInputError):
            raise
        logger.info("%s cannot be read: %r", url, error)
        raise InvalidInputError(NOT_ALLOWED, parameter=PARAMETER) from None
    if len(content) > max_bytes:
        message = f"the image file has more than {max_bytes} bytes"
        raise InvalidInputError(message, parameter=PARAMETER)
    return content


def _open_below(root: Path, relative: Path) -> int:
    """Open a file below a folder without following links, which could have been created since the path was resolved."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in relative.parts[:-1]:
            subfolder = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = subfolder
        # Opening a pipe would block forever without O_NONBLOCK.
        return os.open(relative.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    finally:
        os.close(folder)
