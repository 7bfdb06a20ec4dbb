"""Folders of batches after a restart, a crash, or a full disk."""

import errno
import json
import time

import pytest
from batch_client import content_of, records, request_line, start_batch, upload, wait_for

from millpond_server.batches import worker
from millpond_server.batches.batch import Counts
from millpond_server.batches.files import FileStore
from millpond_server.batches.limits import BatchLimits
from millpond_server.batches.lines import read_lines
from millpond_server.batches.outputs import write_outputs
from millpond_server.batches.records import error_record
from millpond_server.batches.results import ResultLog
from millpond_server.batches.store import BatchStore

LIMITS = BatchLimits()
URL = "/v1/embeddings"


@pytest.fixture
def files(tmp_path):
    return FileStore(tmp_path / "files", LIMITS)


@pytest.fixture
def batches(tmp_path):
    return BatchStore(tmp_path / "batches", LIMITS)


def new_batch(batches, input_file_id="file-0", seconds=60):
    return batches.create("", endpoint=URL, input_file_id=input_file_id, window="1m", seconds=seconds, metadata=None)


def test_files_and_batches_are_there_after_a_restart(start):
    with start() as server:
        batch = wait_for(server, start_batch(server, [request_line(0), "{broken"], metadata={"a": "b"}))
        files = server.request("GET", "/v1/files").json()
        output = records(server, batch["output_file_id"])
    with start() as server:
        assert server.request("GET", f"/v1/batches/{batch['id']}").json() == batch
        assert sorted(map(str, server.request("GET", "/v1/files").json()["data"])) == sorted(map(str, files["data"]))
        assert records(server, batch["output_file_id"]) == output


@pytest.mark.parametrize(
    ("content", "message"),
    [('{"format": 2}', "the format 2 is newer than 1"), ("{", "Expecting"), ("[]", "is damaged")],
)
def test_a_folder_of_an_unknown_format_is_refused_and_unchanged(start, folder, content, message):
    with start() as server:
        file = upload(server, b"x").json()
    (folder / "format.json").write_text(content)
    with pytest.raises(ValueError, match=message), start():
        pass
    assert (folder / "files" / file["id"] / "content").read_bytes() == b"x"


def test_a_folder_that_cannot_be_created_is_named(start, folder):
    folder.write_text("a file")
    with pytest.raises(ValueError, match=r"--batch-dir .*batches: File exists"), start():
        pass


def test_the_folder_is_private(server, folder):
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
def test_a_damaged_description_is_logged_and_kept(start, folder, caplog):
    with start() as server:
        file, other = upload(server, b"x").json(), upload(server, b"y").json()
    description = folder / "files" / file["id"] / "file.json"
    description.write_text(json.dumps({**json.loads(description.read_text()), "field_of_the_future": 1}))
    with start() as server:
        assert [it["id"] for it in server.request("GET", "/v1/files").json()["data"]] == [other["id"]]
    assert str(description) in caplog.text
    assert description.exists()


def test_an_interrupted_upload_is_removed_and_other_entries_stay(tmp_path):
    interrupted, other = tmp_path / "files" / f"file-{'0' * 32}", tmp_path / "files" / "lost+found"
    for path in (interrupted, other):
        path.mkdir(parents=True)
        (path / "content").write_bytes(b"x")
    assert FileStore(tmp_path / "files", LIMITS).of_owner("") == []
    assert not interrupted.exists()
    assert other.exists()


def test_expired_files_are_deleted_unless_a_batch_reads_them(tmp_path):
    files = FileStore(tmp_path, BatchLimits(retention_s=-1))
    kept, deleted = (files.create("", "a", "batch", lambda file: file.write(b"x")) for _ in range(2))
    files.delete_expired(used={kept.id})
    assert files.of_owner("") == [kept]
    assert [path.name for path in tmp_path.iterdir()] == [kept.id]
    assert deleted.id != kept.id


def test_expired_batches_are_deleted_when_they_have_ended(tmp_path):
    batches = BatchStore(tmp_path, BatchLimits(retention_s=-10))
    running, ended = new_batch(batches), new_batch(batches)
    batches.set_status(ended, "completed")
    batches.delete_expired()
    assert batches.of_owner("") == [running]
    assert [path.name for path in tmp_path.iterdir()] == [running.id]


def test_a_key_keeps_its_newest_ended_batches(tmp_path):
    batches = BatchStore(tmp_path, BatchLimits(ended_batches=2))
    created = []
    for _ in range(4):
        created.append(new_batch(batches))
        batches.set_status(created[-1], "failed")
    unfinished = new_batch(batches)
    assert batches.of_owner("") == [unfinished, created[3], created[2]]


def test_unfinished_batches_of_a_key_are_limited(tmp_path):
    batches = BatchStore(tmp_path, BatchLimits(batches=1))
    new_batch(batches)
    with pytest.raises(Exception, match="1 unfinished batches, the maximum"):
        new_batch(batches)


@pytest.mark.parametrize(
    "tail", [b'{"line":3,"error":fal', b"\0" * 50 + b"\n", b'{"line":3,"error":false,"record":{"a":\0}}\n']
)
def test_results_after_a_crash_end_with_the_last_whole_line(tmp_path, tail):
    log = ResultLog(tmp_path / "log", "batch_0")
    log.append(1, {"a": 1}, is_error=False)
    log.append(2, {"b": "\n\0"}, is_error=True)
    log.close()
    with (tmp_path / "log").open("ab") as file:
        file.write(tail)
    log = ResultLog(tmp_path / "log", "batch_0")
    assert (1 in log, 2 in log, 3 in log, log.completed, log.failed) == (True, True, False, 1, 1)
    log.append(3, {"c": 3}, is_error=False)
    log.close()
    log = ResultLog(tmp_path / "log", "batch_0")
    assert list(log.records(errors=False)) == [(1, b'{"a":1}'), (3, b'{"c":3}')]
    log.close()


def test_outputs_that_are_written_again_after_a_crash_are_not_doubled(tmp_path, files, batches, monkeypatch):
    path = tmp_path / "input"
    path.write_bytes(content_of([request_line(1), "{", request_line(3)]))
    lines = list(read_lines(path, {URL}, LIMITS))
    batch = new_batch(batches)
    batch.counts.total = 3
    batches.set_status(batch, "in_progress")
    log = ResultLog(batches.folder(batch) / "results.jsonl", batch.id)
    log.append(1, {"id": "first"}, is_error=False)
    log.append(2, error_record(batch.id, lines[1], "invalid_line", "bad"), is_error=True)
    set_status = batches.set_status
    monkeypatch.setattr(batches, "set_status", lambda *args, **more: args[1] == "finalizing" or 1 / 0)
    with pytest.raises(ZeroDivisionError):  # a crash before the last status
        write_outputs(batch, lines, log, files, batches)
    monkeypatch.setattr(batches, "set_status", set_status)
    write_outputs(batch, lines, log, files, batches)
    log.close()
    assert (batch.status, batch.counts) == ("expired", Counts(3, 1, 2))
    output, errors = sorted(files.of_owner(""), key=lambda file: file.filename, reverse=True)
    assert (output.id, errors.id) == (batch.output_file_id, batch.error_file_id)
    assert files.path(output).read_bytes() == b'{"id":"first"}\n'
    codes = [json.loads(line)["error"]["code"] for line in files.path(errors).read_text().splitlines()]
    assert codes == ["invalid_line", "batch_expired"]


def test_a_full_disk_pauses_a_batch_without_losing_lines(start, monkeypatch):
    monkeypatch.setattr(worker, "STORAGE_RETRY_S", 0.01)
    append, calls = ResultLog.append, []

    def append_or_fail(log, number, record, *, is_error):
        calls.append(number)
        if len(calls) in {5, 30, 31, 60}:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(log, number, record, is_error=is_error)

    monkeypatch.setattr(ResultLog, "append", append_or_fail)
    with start() as server:
        lines = [request_line(number) for number in range(100)]
        batch = wait_for(server, start_batch(server, lines))
        assert batch["status"] == "completed"
        assert [it["custom_id"] for it in records(server, batch["output_file_id"])] == [it["custom_id"] for it in lines]
    assert len(calls) > 100


@pytest.mark.slow
def test_a_missing_input_fails_the_batch(start, folder):
    with start() as server:
        batch = start_batch(server, [request_line(number) for number in range(20_000)])
        wait_for(server, batch, "in_progress")
    (folder / "files" / batch["input_file_id"] / "content").unlink()
    with start() as server:
        batch = wait_for(server, batch)
    assert (batch["status"], batch["errors"]["data"][0]["code"]) == ("failed", "missing_file")


@pytest.mark.slow
def test_a_batch_that_expired_while_the_server_was_stopped_ends_as_expired(start):
    with start() as server:
        lines = [request_line(number) for number in range(20_000)]
        batch = start_batch(server, lines, completion_window="2s")
        wait_for(server, batch, "in_progress")
    time.sleep(max(batch["expires_at"] - time.time(), 0))
    with start() as server:
        batch = wait_for(server, batch)
        assert batch["status"] == "expired"
        done = [it["custom_id"] for it in records(server, batch["output_file_id"])] if batch["output_file_id"] else []
        rest = [it["custom_id"] for it in records(server, batch["error_file_id"])]
    assert sorted(done + rest) == sorted(line["custom_id"] for line in lines)
