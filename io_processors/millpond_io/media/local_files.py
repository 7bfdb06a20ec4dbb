"""Reading a file that a ``file://`` URL names: below one folder, and by no way that leads out of it."""

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
    "the file may not be read: file:// URLs name files below allowed_local_media_path (of a server: "
    "--allowed-local-media-path), and nothing else"
)


def read_below(folder: str, url: str, *, largest: int) -> bytes:
    """The file that a URL names.

    Args:
        folder: The folder that is allowed; empty for none.
        url: ``file:///path``, with ``%20`` and the like.
        largest: The most bytes it may have.

    Raises:
        InvalidInputError: If it is not below the folder, no file, or too large. What is outside looks like what is not
            there.
    """
    host, slash, path = url[len(SCHEME) :].partition("/")
    name = os.fsdecode(unquote_to_bytes(slash + path))
    if not folder or host.lower() not in HOSTS or "\0" in name:
        raise InvalidInputError(NOT_ALLOWED, parameter=PARAMETER)
    try:
        root = Path(folder).resolve(strict=True)
        inner = Path(name).resolve(strict=True).relative_to(root)
        with os.fdopen(_open_below(root, inner), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InvalidInputError(NOT_ALLOWED, parameter=PARAMETER)
            content = file.read(largest + 1)
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, InvalidInputError):
            raise
        logger.info("%s cannot be read: %r", url, error)
        raise InvalidInputError(NOT_ALLOWED, parameter=PARAMETER) from None
    if len(content) > largest:
        message = f"the image's file has more than {largest} bytes"
        raise InvalidInputError(message, parameter=PARAMETER)
    return content


def _open_below(root: Path, inner: Path) -> int:
    """A descriptor of a file below a folder, by folders that are nothing else: a link put there since is refused."""
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in inner.parts[:-1]:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here = below
        # Without waiting: a pipe would keep the reader for ever.
        return os.open(inner.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=here)
    finally:
        os.close(here)
