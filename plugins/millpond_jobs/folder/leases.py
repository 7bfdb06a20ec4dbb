"""Leases of shards: several processes and hosts work on one folder, and no two compute the same shard."""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

from filelock import FileLock

from millpond_jobs.folder.files import stating_failures
from millpond_storage.files import read_json

HEARTBEAT_S = 5.0
EXPIRES_AFTER_S = 60.0
MAX_PID = 2**31 - 1
TAKEOVER_LOCK = "takeover.lock"


@dataclass(frozen=True)
class Holder:
    """The process that holds a lease.

    Attributes:
        token: A random name of the worker.
        host: Its host.
        pid: Its process.
        started: The start time of the process, since its number may be used again; None if unknown.
    """

    token: str
    host: str
    pid: int
    started: str | None


class Leases:
    """The leases of one worker, in a folder that workers share.

    A lease is a file that only one process can create. The worker updates its time of modification while it works; a
    lease expires if its process has ended, or, on a different host, `EXPIRES_AFTER_S` after the last update.

    Args:
        folder: The folder of lease files.
        expires_after_s: Seconds without update after which a lease expires.
    """

    def __init__(self, folder: Path, expires_after_s: float = EXPIRES_AFTER_S) -> None:
        self._folder, self._expires_after_s = folder, expires_after_s
        self._holder = Holder(uuid4().hex, host_name(), os.getpid(), process_start(os.getpid()))
        self._held: set[str] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="millpond-job-leases", daemon=True)

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()
        for name in tuple(self._held):
            self.release(name)

    def claim(self, name: str) -> bool:
        """Take the lease of a shard; False if another worker holds it."""
        if self._create(name):
            return True
        if not self._is_expired(name):
            return False
        # The lock prevents that a second worker removes the new lease as the old one.
        with FileLock(self._folder / TAKEOVER_LOCK), stating_failures("take over the lease", self._path(name)):
            if self._is_expired(name):
                self._path(name).unlink(missing_ok=True)
            return self._create(name)

    def is_held(self, name: str) -> bool:
        """True if the lease is still this worker's: a stopped process may wake up after another one took it over."""
        return read_holder(self._path(name)) == self._holder

    def release(self, name: str) -> None:
        """Give a lease up, if it is still this worker's."""
        with self._lock:
            self._held.discard(name)
        if self.is_held(name):
            self._path(name).unlink(missing_ok=True)

    def _create(self, name: str) -> bool:
        with stating_failures("create the lease", self._path(name)):
            try:
                descriptor = os.open(self._path(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            except FileExistsError:
                return False
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    json.dump(asdict(self._holder), file)
            except OSError:  # an empty lease would keep the shard until it expires
                self._path(name).unlink(missing_ok=True)
                raise
        with self._lock:
            self._held.add(name)
        return True

    def _is_expired(self, name: str) -> bool:
        return is_expired(self._path(name), self._expires_after_s, partial(file_system_time, self._folder))

    def _beat(self) -> None:
        while not self._stopped.wait(min(HEARTBEAT_S, self._expires_after_s / 4)):
            with self._lock:
                names = tuple(self._held)
            for name in names:
                if self.is_held(name):
                    with contextlib.suppress(OSError):  # taken over since, or the network file system is away
                        os.utime(self._path(name))

    def _path(self, name: str) -> Path:
        return self._folder / name


def is_expired(path: Path, expires_after_s: float = EXPIRES_AFTER_S, now: Callable[[], float] = time.time) -> bool:
    """True if a lease can be taken over: it is released, or its worker has ended.

    Args:
        path: The file of the lease.
        expires_after_s: Seconds without heartbeat after which the worker of a different host counts as ended.
        now: Returns the time with which heartbeats are compared.
    """
    holder = read_holder(path)
    if holder is not None and holder.host == host_name():
        return process_start(holder.pid) != holder.started or not _is_alive(holder.pid)
    try:
        # A heartbeat in the future is from before the clock was set back; a worker that runs has sent one since.
        return abs(now() - path.stat().st_mtime) > expires_after_s
    except FileNotFoundError:
        return True


def file_system_time(folder: Path) -> float:
    """Return the time by the clock that heartbeats have: that of a file server may differ from this host's."""
    path = folder / TAKEOVER_LOCK
    path.touch()
    return path.stat().st_mtime


def remove_expired(folder: Path) -> None:
    """Remove the leases of ended workers, such as that of a shard they finished but did not release."""
    now = partial(file_system_time, folder)
    for path in folder.iterdir():
        if path.name != TAKEOVER_LOCK and path.is_file() and is_expired(path, now=now):
            with FileLock(folder / TAKEOVER_LOCK):
                if is_expired(path, now=now):
                    path.unlink(missing_ok=True)


def read_holder(path: Path) -> Holder | None:
    """Return the holder of a lease; None if there is no lease, or it is being written or cannot be read."""
    try:
        holder = Holder(**read_json(path))
    except (OSError, ValueError, TypeError):
        return None
    return holder if isinstance(holder.pid, int) and 0 < holder.pid <= MAX_PID else None


def host_name() -> str:
    """Return a name of this host and boot, and of the container: process numbers mean the same under one name."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):  # not Linux
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return "/".join(parts)


def process_start(pid: int) -> str | None:
    """Return the start time of a process in clock ticks since the boot; None if it has ended, or is unknown here."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except OSError:
        return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
