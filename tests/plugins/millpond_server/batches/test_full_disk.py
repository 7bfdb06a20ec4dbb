"""Files and batches on a file system that is really full: refused or delayed, and no line is lost."""

import os
import time

import pytest
from batch_client import content_of, records, request_line, start_batch, upload, wait_for
from tiny_disk import PAGE_BYTES, tiny_disk

from millpond_server.batches import worker


@pytest.fixture
def disk(tmp_path):
    with tiny_disk(tmp_path / "disk", pages=64) as disk:
        yield disk


@pytest.fixture
def folder(disk):
    """Return the folder of files and batches; the server starts before the disk is unmounted."""
    return disk.path / "batches"


def test_an_upload_to_a_full_disk_answers_503_and_leaves_nothing(server, folder, disk):
    free = disk.free_bytes
    assert upload(server, os.urandom(80 * PAGE_BYTES)).status == 503
    assert list((folder / "files").iterdir()) == []
    assert disk.free_bytes == free
    assert upload(server, os.urandom(8 * PAGE_BYTES)).status == 200


def test_a_batch_waits_for_a_full_disk_and_loses_no_line(start, disk, monkeypatch):
    monkeypatch.setattr(worker, "STORAGE_RETRY_S", 0.05)
    lines = [request_line(number) for number in range(400)]
    with start() as server:
        assert len(content_of(lines)) < 16 * PAGE_BYTES
        batch = start_batch(server, lines)
        deadline = time.monotonic() + 120
        while disk.free_bytes and time.monotonic() < deadline:
            time.sleep(0.01)
        assert wait_for(server, batch, "in_progress")["request_counts"]["completed"] < 400
        disk.resize(4096)
        batch = wait_for(server, batch)
        assert (batch["status"], batch["error_file_id"]) == ("completed", None)
        output = records(server, batch["output_file_id"])
    assert [record["custom_id"] for record in output] == [line["custom_id"] for line in lines]
