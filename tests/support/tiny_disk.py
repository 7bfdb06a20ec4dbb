"""A small file system in memory, for tests of full disks. It needs the right to mount one."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PAGE_BYTES = 4096


class TinyDisk:
    """A mounted file system.

    Attributes:
        path: Its folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def free_bytes(self) -> int:
        """The size that is left."""
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize

    def resize(self, pages: int) -> None:
        """Change its size."""
        _run("mount", "-o", f"remount,size={pages * PAGE_BYTES}", str(self.path)).check_returncode()


@contextmanager
def tiny_disk(path: Path, pages: int) -> Iterator[TinyDisk]:
    """Mount a file system of some pages of 4 KiB until the end of the block; skip the test if that is not allowed."""
    path.mkdir()
    if (
        shutil.which("mount") is None
        or _run("mount", "-t", "tmpfs", "-o", f"size={pages * PAGE_BYTES}", "tmpfs", str(path)).returncode
    ):
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield TinyDisk(path)
    finally:
        _run("umount", "--lazy", str(path)).check_returncode()


def _run(*command: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(command, capture_output=True, check=False)
