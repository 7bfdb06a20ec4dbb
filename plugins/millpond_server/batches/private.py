"""Private folders and files, which other users can neither read nor change."""

import errno
import logging
import os
import stat
from pathlib import Path
from typing import BinaryIO, cast

logger = logging.getLogger(__name__)
PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600  # permissions
OTHERS_WRITE, OTHERS_READ = 0o022, 0o055
ROOT = 0  # the user
HAS_OWNERS = hasattr(os, "geteuid")  # not on Windows, whose folders inherit their access lists
OPEN_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def prepare_root(path: Path) -> None:
    """Create the folder of a server, or check an existing one, whose permissions are not changed.

    Raises:
        ValueError: If other users can write to it, and could replace inputs and results.
        OSError: If it cannot be created.
    """
    path.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    if not HAS_OWNERS:
        return
    status = path.stat()
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid not in (os.geteuid(), ROOT):
        message = f"{path} belongs to a different user, who could replace its files: use a folder of the server's user"
        raise ValueError(message)
    if mode & OTHERS_WRITE:
        message = f"{path} has the mode {mode:o}, so that other users could replace its files: chmod go-w {path}"
        raise ValueError(message)
    if mode & OTHERS_READ:
        logger.warning("%s has the mode %o: other users can enter it, but not read its files. Use mode 700", path, mode)


def make_private(path: Path) -> None:
    """Create a folder that only its owner can enter, or make an existing one private.

    Raises:
        OSError: If it is a link or a file, or belongs to a different user.
    """
    path.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    if path.is_symlink():
        raise OSError(errno.ELOOP, "a symbolic link in place of a folder", str(path))
    path.chmod(PRIVATE_FOLDER)


def open_private(path: Path, flags: int, mode: str) -> BinaryIO:
    """Open a file, without following a link or waiting for the other end of a pipe.

    Args:
        path: The file.
        flags: The flags of ``os.open``; a file that they create is private.
        mode: The mode of ``open``.

    Raises:
        OSError: If it is not a regular file, or cannot be opened.
    """
    descriptor = os.open(path, flags | OPEN_FLAGS, PRIVATE_FILE)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return cast("BinaryIO", os.fdopen(descriptor, mode))
