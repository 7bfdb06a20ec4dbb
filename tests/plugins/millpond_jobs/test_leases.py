"""Leases: one holder at a time; those of ended processes and silent hosts are taken over."""

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from millpond_jobs.errors import JobError
from millpond_jobs.folder import leases as module
from millpond_jobs.folder.leases import Leases, host_name, is_expired, read_holder


@pytest.fixture
def open_leases(tmp_path):
    """Open leases of one more worker on the folder."""
    opened = []

    def open_one(**options):
        leases = Leases(tmp_path / "leases", **options)
        opened.append(leases.__enter__())
        return leases

    yield open_one
    for leases in opened:
        leases.__exit__(None, None, None)


def write_lease(tmp_path, name, **changes):
    """Write the lease of a different worker."""
    holder = {"token": "other", "host": host_name(), "pid": os.getpid(), "started": module.process_start(os.getpid())}
    (tmp_path / "leases").mkdir(exist_ok=True)
    path = tmp_path / "leases" / name
    path.write_text(json.dumps(holder | changes))
    return path


def test_only_one_worker_holds_a_lease(open_leases):
    first, second = open_leases(), open_leases()
    assert first.claim("a")
    assert not second.claim("a")
    assert second.claim("b")
    first.release("a")
    assert second.claim("a")
    assert second.is_held("a")
    assert not first.is_held("a")


def test_one_of_many_threads_claims(open_leases):
    workers, claims = [open_leases() for _ in range(8)], []
    barrier = threading.Barrier(8)

    def claim(leases):
        barrier.wait()
        if leases.claim("a"):
            claims.append(leases)

    threads = [threading.Thread(target=claim, args=(leases,)) for leases in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claims) == 1


def test_the_lease_of_an_ended_process_is_taken_over_at_once(open_leases, tmp_path):
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    write_lease(tmp_path, "a", pid=int(ended.stdout))
    assert open_leases().claim("a")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_later_process_with_the_same_number_does_not_keep_a_lease(open_leases, tmp_path):
    write_lease(tmp_path, "a", started="1")
    assert open_leases().claim("a")


def test_the_lease_of_a_different_host_expires_without_heartbeat(open_leases, tmp_path):
    path = write_lease(tmp_path, "a", host="elsewhere", pid=1)
    leases = open_leases()
    assert not leases.claim("a")
    os.utime(path, (time.time() - 61, time.time() - 61))
    assert leases.claim("a")


@pytest.mark.parametrize("jump_s", [-3600, 3600])
def test_a_wrong_clock_of_this_host_does_not_end_leases_of_others(open_leases, tmp_path, monkeypatch, jump_s):
    write_lease(tmp_path, "a", host="elsewhere", pid=1)
    now = time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + jump_s)
    assert not open_leases().claim("a")


def test_a_heartbeat_in_the_future_does_not_keep_a_lease(open_leases, tmp_path):
    path = write_lease(tmp_path, "a", host="elsewhere", pid=1)
    os.utime(path, (time.time() + 3600, time.time() + 3600))
    assert open_leases().claim("a")


@pytest.mark.parametrize("kind", ["dangling link", "link", "damaged"])
def test_a_hostile_lease_is_taken_over_and_other_files_are_kept(open_leases, tmp_path, kind):
    other, path = tmp_path / "thesis.tex", tmp_path / "leases" / "a"
    path.parent.mkdir()
    if kind != "dangling link":
        other.write_bytes(b"\xff{")
        os.utime(other, (0, 0))
    if kind == "damaged":
        other.rename(path)
    else:
        path.symlink_to(other)
    assert open_leases().claim("a")
    assert not path.is_symlink()
    assert kind != "link" or other.read_bytes() == b"\xff{"


def test_a_full_disk_leaves_no_empty_lease(open_leases, monkeypatch):
    leases = open_leases()

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.json, "dump", fail)
        with pytest.raises(JobError, match=r"cannot create the lease .*: No space left on device"):
            leases.claim("a")
    assert open_leases().claim("a")


def test_a_folder_in_place_of_a_lease_is_an_error(open_leases, tmp_path):
    path = tmp_path / "leases" / "a"
    path.mkdir(parents=True)
    os.utime(path, (0, 0))
    with pytest.raises(JobError, match=r"cannot take over the lease .*: Is a directory"):
        open_leases().claim("a")


def test_a_lease_that_is_being_written_is_not_taken_over(open_leases, tmp_path):
    path = write_lease(tmp_path, "a")
    path.write_text("")
    assert not open_leases().claim("a")


def test_the_heartbeat_keeps_a_lease(open_leases, tmp_path):
    leases = open_leases(expires_after_s=0.2)
    assert leases.claim("a")
    path = tmp_path / "leases" / "a"
    os.utime(path, (0, 0))
    deadline = time.monotonic() + 30
    while path.stat().st_mtime == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_expired(path, 30)


def test_a_lease_that_was_taken_over_is_not_released_by_its_former_holder(open_leases, tmp_path):
    first = open_leases()
    first.claim("a")
    path = tmp_path / "leases" / "a"
    taken = replace(read_holder(path), token="other")
    path.write_text(json.dumps(vars(taken)))
    assert not first.is_held("a")
    first.release("a")
    assert path.exists()
