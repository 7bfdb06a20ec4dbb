"""Checks that no other user can have changed a file or folder."""

import os
import stat
import sys


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
