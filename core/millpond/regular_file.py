"""Opening of files that others may have placed: pipes and devices are refused."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # opening a pipe without a writer would wait for one
NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
FLAGS = os.O_RDONLY | NO_WAIT | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
NOT_REGULAR = "it is not a regular file"


def open_regular(path: Path, *, follow: bool = True, folder: int | None = None) -> BinaryIO:
    """Open a regular file for reading.

    Args:
        path: The path.
        follow: False to refuse a symbolic link.
        folder: The descriptor of the folder that a relative path starts from.

    Raises:
        OSError: If it cannot be opened, or is a folder, a pipe, a socket or a device.
    """
    # Opening a device can have effects, so the kind is checked before; the check of the open file decides.
    _check_kind(os.stat(path, dir_fd=folder, follow_symlinks=follow), path)
    descriptor = os.open(path, FLAGS if follow else FLAGS | NO_FOLLOW, dir_fd=folder)
    try:
        _check_kind(os.fstat(descriptor), path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check_kind(state: os.stat_result, path: Path) -> None:
    if stat.S_ISLNK(state.st_mode):
        raise OSError(errno.ELOOP, "it is a symbolic link", str(path))
    if not stat.S_ISREG(state.st_mode):
        raise OSError(errno.EINVAL, NOT_REGULAR, str(path))
