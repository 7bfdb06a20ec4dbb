"""Opening of files that others may have placed: pipes and devices are refused, and owners can be checked."""

import errno
import os
import stat
import sys
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


def distrust(state: os.stat_result) -> str | None:
    """Return why a file or folder may have been changed by another user; None if only this user and root can write it.

    As for files of ssh, the owner must be this user or root, and neither the group nor others may write. A group that
    has the name of the owner and no other members is accepted: it is the default of many systems.
    """
    if sys.platform == "win32":  # access is controlled by lists, which the mode does not show
        return None
    if state.st_uid not in (0, os.geteuid()):
        return f"belongs to another user ({_user_name(state.st_uid)})"
    if state.st_mode & stat.S_IWOTH:
        return "can be written by all users"
    if state.st_mode & stat.S_IWGRP and not _is_private_group(state.st_gid, state.st_uid):
        return "can be written by its group"
    return None


def is_sticky(state: os.stat_result) -> bool:
    """Return True for a folder such as /tmp, in which users can only remove and rename their own files."""
    return bool(state.st_mode & stat.S_ISVTX) and sys.platform != "win32"


def _user_name(user: int) -> str:
    import pwd  # noqa: PLC0415  not on Windows

    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _is_private_group(group: int, user: int) -> bool:
    import grp  # noqa: PLC0415  not on Windows

    try:
        entry = grp.getgrgid(group)
    except KeyError:
        return False
    name = _user_name(user)
    return entry.gr_name == name and set(entry.gr_mem) <= {name}
