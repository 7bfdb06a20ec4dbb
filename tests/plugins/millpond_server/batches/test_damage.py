"""Damaged, planted and forged files in the folder of batches are never served or followed, and others are not lost."""

import hashlib
import json
import logging
import os
import shutil

import pytest
from batch_client import content_of, records, request_line, start_batch, upload, wait_for
from waiting import eventually

from millpond_server.batches import worker
from millpond_server.batches.results import ResultLog
from millpond_storage.checked import write_checked


def flip_bit(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@pytest.fixture
def finished(start, folder):
    """Return a batch that has ended, and the path of its output."""
    with start() as server:
        batch = wait_for(server, start_batch(server, [request_line(number) for number in range(3)]))
    return batch, folder / "files" / batch["output_file_id"] / "content"


@pytest.mark.parametrize("position", [0, 700, -2])
@pytest.mark.parametrize("headers", [{}, {"range": "bytes=0-9"}], ids=["whole", "range"])
def test_results_with_a_flipped_bit_are_not_served(start, finished, position, headers, caplog):
    batch, path = finished
    flip_bit(path, position)
    with start() as server:
        answer = server.request("GET", f"/v1/files/{batch['output_file_id']}/content", headers=headers)
        assert answer.status == 500
        assert "is damaged: it differs from its checksum; run the batch again" in answer.json()["message"]
        assert server.request("GET", f"/v1/files/{batch['input_file_id']}/content").status == 200
    assert batch["output_file_id"] in caplog.text


def test_swapped_results_are_not_served(start, folder, finished):
    batch, path = finished
    with start() as server:
        other = wait_for(server, start_batch(server, [request_line(number) for number in range(9, 12)]))
        second = folder / "files" / other["output_file_id"] / "content"
        first, content = path.read_bytes(), second.read_bytes()
        path.write_bytes(content)
        second.write_bytes(first)
        for file_id in (batch["output_file_id"], other["output_file_id"]):
            assert server.request("GET", f"/v1/files/{file_id}/content").status == 500


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_link_or_a_pipe_in_place_of_results_is_not_served(start, tmp_path, finished, kind):
    batch, path = finished
    content = path.read_bytes()
    path.unlink()
    if kind == "link":
        (tmp_path / "elsewhere").write_bytes(content)
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with start() as server:
        assert server.request("GET", f"/v1/files/{batch['output_file_id']}/content").status in (500, 503)
        assert server.request("GET", f"/v1/files/{batch['input_file_id']}/content").status == 200


def test_a_damaged_input_fails_its_batch_before_it_runs(server, folder):
    file = upload(server, content_of([request_line(number) for number in range(3)])).json()
    flip_bit(folder / "files" / file["id"] / "content", 60)
    body = {"input_file_id": file["id"], "endpoint": "/v1/embeddings"}
    batch = wait_for(server, server.request("POST", "/v1/batches", json=body).json())
    assert (batch["status"], batch["errors"]["data"][0]["code"]) == ("failed", "damaged_file")
    assert "upload it again" in batch["errors"]["data"][0]["message"]


def test_an_input_that_changes_while_it_is_read_fails_its_batch(start, folder, monkeypatch):
    next_chunk = worker.next_chunk

    def change_and_read(lines):
        if not changed:
            (path,) = (folder / "files").glob("*/content")
            flip_bit(path, 60)
            changed.append(path)
        return next_chunk(lines)

    changed = []
    monkeypatch.setattr(worker, "next_chunk", change_and_read)
    with start() as server:
        batch = wait_for(server, start_batch(server, [request_line(0)]))
    assert (batch["status"], batch["errors"]["data"][0]["code"]) == ("failed", "damaged_file")
    assert batch["output_file_id"] is None


# --- results that are not written to a file yet -----------------------------------------------------------------------


def log_of(path, batch_id="batch_0"):
    log = ResultLog(path, batch_id)
    return log, {number: log.__contains__(number) for number in (1, 2, 3)}


@pytest.mark.parametrize("position", range(0, 107, 7))
def test_a_damaged_result_is_ignored_and_the_others_stay(tmp_path, position, caplog):
    log, _ = log_of(tmp_path / "log")
    log.append(1, {"a": 1}, is_error=False)
    size = log.size
    assert position < size
    log.append(2, {"a": 2}, is_error=False)
    log.append(3, {"a": 3}, is_error=True)
    log.close()
    flip_bit(tmp_path / "log", size + position)
    log, present = log_of(tmp_path / "log")
    assert present == {1: True, 2: False, 3: True}
    assert "damaged results are computed again" in caplog.text
    log.append(2, {"a": 2}, is_error=False)
    log.close()
    log, present = log_of(tmp_path / "log")
    assert all(present.values())
    assert (log.completed, log.failed) == (2, 1)
    assert [record for _, record in log.records(errors=False)] == [b'{"a":1}', b'{"a":2}']
    log.close()


def test_results_of_a_different_batch_are_not_used(tmp_path):
    log, _ = log_of(tmp_path / "log", "batch_0")
    log.append(1, {"a": 1}, is_error=False)
    log.close()
    log, present = log_of(tmp_path / "log", "batch_1")
    assert not any(present.values())
    log.close()


def test_a_result_that_is_damaged_before_the_files_are_written_is_computed_again(start, folder, monkeypatch):
    monkeypatch.setattr(worker, "STORAGE_RETRY_S", 0.01)
    write_outputs, calls = worker.write_outputs, []

    def damage_once(batch, *others):
        calls.append(batch.id)
        if len(calls) == 1:
            flip_bit(folder / "batches" / batch.id / "results.jsonl", 100)
        write_outputs(batch, *others)

    monkeypatch.setattr(worker, "write_outputs", damage_once)
    lines = [request_line(number) for number in range(5)]
    with start() as server:
        batch = wait_for(server, start_batch(server, lines))
        assert (batch["status"], len(calls)) == ("completed", 2)
        output = records(server, batch["output_file_id"])
    assert [record["custom_id"] for record in output] == [line["custom_id"] for line in lines]


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_planted_log_of_results_is_not_followed(start, folder, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(worker, "STORAGE_RETRY_S", 0.01)
    victim = tmp_path / "victim"
    victim.write_text("precious\n")

    def plant_and_open(path, batch_id):
        if not path.is_symlink() and not path.exists():
            (path.symlink_to if kind == "link" else lambda _: os.mkfifo(path))(victim)
        return ResultLog(path, batch_id)

    monkeypatch.setattr(worker, "ResultLog", plant_and_open)
    with start() as server:
        batch = wait_for(server, start_batch(server, [request_line(0)]), "in_progress")
        assert wait_for(server, batch, "in_progress")["request_counts"]["completed"] == 0
        assert server.request("GET", "/live").status == 200
    assert victim.read_text() == "precious\n"


# --- descriptions -----------------------------------------------------------------------------------------------------


FORGED = {
    "owner": "not a hash",
    "status": "done",
    "created_at": "yesterday",
    "expires_at": 2**70,
    "counts": {"total": -1},
    "times": {"in_progress_at": None},
    "errors": {},
    "id": "../../files",
    "unknown": 1,
}


@pytest.mark.parametrize("field", FORGED)
def test_a_forged_batch_is_logged_and_ignored(start, folder, field, caplog):
    with start() as server:
        batch, other = (wait_for(server, start_batch(server, [request_line(0)])) for _ in range(2))
    path = folder / "batches" / batch["id"] / "batch.json"
    fields = json.loads(path.read_text()) | {field: FORGED[field]}
    del fields["checksum"]
    write_checked(path, fields, private=True)
    with start() as server:
        listed = [item["id"] for item in server.request("GET", "/v1/batches").json()["data"]]
        assert listed == [other["id"]]
        assert wait_for(server, start_batch(server, [request_line(0)]))["status"] == "completed"
    assert str(path) in caplog.text
    assert path.exists()


@pytest.mark.parametrize("kind", ["files", "batches"])
def test_a_description_with_a_flipped_bit_is_logged_and_ignored(start, folder, finished, kind, caplog):
    batch, _ = finished
    entry_id, name = (batch["id"], "batch.json") if kind == "batches" else (batch["output_file_id"], "file.json")
    path = folder / kind / entry_id / name
    flip_bit(path, path.read_bytes().index(b'_at": 1') + 7)
    with start() as server:
        assert server.request("GET", f"/v1/{kind}/{entry_id}").status == 404
    assert f"{path}, which is ignored: it is damaged: its content differs from its checksum" in caplog.text


def test_a_copied_batch_does_not_run_for_a_second_time(start, folder, finished):
    batch, _ = finished
    copy = folder / "batches" / f"batch_{'0' * 32}"
    shutil.copytree(folder / "batches" / batch["id"], copy)
    with start() as server:
        assert [item["id"] for item in server.request("GET", "/v1/batches").json()["data"]] == [batch["id"]]


@pytest.mark.parametrize("content", ["{", "[]", "null", '"a"', "[" * 100_000, "\0" * 100])
def test_a_description_that_is_not_an_object_is_ignored(start, folder, finished, content):
    batch, _ = finished
    (folder / "batches" / batch["id"] / "batch.json").write_text(content)
    with start() as server:
        assert server.request("GET", "/v1/batches").json()["data"] == []


# --- the folder -------------------------------------------------------------------------------------------------------


def test_all_files_are_private(start, folder):
    old = os.umask(0)
    try:
        with start() as server:
            batch = start_batch(server, [request_line(number) for number in range(2000)])
            eventually(lambda: any(folder.rglob("results.jsonl")))
            modes = {path.relative_to(folder).parts: path.stat().st_mode & 0o777 for path in folder.rglob("*")}
            server.request("POST", f"/v1/batches/{batch['id']}/cancel")
            wait_for(server, batch)
            modes |= {path.relative_to(folder).parts: path.stat().st_mode & 0o777 for path in folder.rglob("*")}
    finally:
        os.umask(old)
    assert {parts[-1] for parts in modes} >= {".lock", "format.json", "content", "file.json", "batch.json"}
    assert any(parts[-1] == "results.jsonl" for parts in modes)
    assert set(modes.values()) == {0o700, 0o600}


def test_a_folder_that_others_can_read_is_reported_and_its_content_stays_private(start, folder, caplog):
    (folder / "files").mkdir(parents=True)
    for path in (folder, folder / "files"):
        path.chmod(0o755)
    with caplog.at_level(logging.WARNING), start() as server:
        upload(server, b"x")
    assert f"{folder} has the mode 755" in caplog.text
    assert [(folder / name).stat().st_mode & 0o777 for name in ("files", "batches")] == [0o700, 0o700]
    assert folder.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770])
def test_a_folder_that_others_can_write_is_refused(start, folder, mode):
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(ValueError, match=f"the mode {mode:o}.*chmod go-w"), start():
        pass
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_a_different_user_is_refused(start, folder):
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)
    with pytest.raises(ValueError, match="belongs to a different user"), start():
        pass


@pytest.mark.parametrize("name", ["files", "batches", ".lock"])
def test_a_planted_link_in_the_folder_is_refused(start, folder, tmp_path, name):
    folder.mkdir(mode=0o700)
    target = tmp_path / "elsewhere"
    target.write_text("precious") if name == ".lock" else target.mkdir(mode=0o755)
    (folder / name).symlink_to(target)
    with pytest.raises(ValueError, match="--batch-dir"), start():
        pass
    assert target.read_text() == "precious" if name == ".lock" else target.stat().st_mode & 0o777 == 0o755


# --- quotas -----------------------------------------------------------------------------------------------------------


def test_the_bytes_of_a_key_are_limited_with_the_error_of_openai(start):
    mine, theirs = {"authorization": "Bearer mine"}, {"authorization": "Bearer theirs"}
    with start(api_keys=("mine", "theirs"), settings={"max_stored_bytes": 1000}) as server:
        file = upload(server, b"x" * 600, headers=mine).json()
        refused = upload(server, b"x" * 600, headers=mine)
        assert (refused.status, refused.json()["error"]["type"]) == (400, "invalid_request_error")
        assert refused.json()["message"].startswith("You have exceeded your file storage quota")
        assert upload(server, b"x" * 600, headers=theirs).status == 200
        assert upload(server, b"x" * 400, headers=mine).status == 200
        assert upload(server, b"x", headers=mine).status == 400
        server.request("DELETE", f"/v1/files/{file['id']}", headers=mine)
        assert upload(server, b"x" * 600, headers=mine).status == 200
    with start(api_keys=("mine",), settings={"max_stored_bytes": 1000}) as server:
        assert upload(server, b"x", headers=mine).status == 400


def test_requests_of_a_batch_fail_when_its_results_reach_the_quota(start, folder):
    lines = [request_line(number) for number in range(200)]
    with start(settings={"max_stored_bytes": 60_000}) as server:
        batch = wait_for(server, start_batch(server, lines))
        assert batch["status"] == "completed"
        assert 10 < batch["request_counts"]["completed"] < 190
        errors = records(server, batch["error_file_id"])
        assert {record["error"]["code"] for record in errors} == {"storage_quota_exceeded"}
        assert len(errors) + len(records(server, batch["output_file_id"])) == 200
        body = {"input_file_id": batch["input_file_id"], "endpoint": "/v1/embeddings"}
        assert server.request("POST", "/v1/batches", json=body).status == 400


def test_too_many_unfinished_batches_are_refused_like_a_rate_limit(start):
    with start(settings={"max_batches": 1}) as server:
        batch = start_batch(server, [request_line(number) for number in range(5000)])
        body = {"input_file_id": batch["input_file_id"], "endpoint": "/v1/embeddings"}
        refused = server.request("POST", "/v1/batches", json=body)
        assert (refused.status, refused.json()["error"]["type"]) == (429, "rate_limit_exceeded")
        server.request("POST", f"/v1/batches/{batch['id']}/cancel")
        wait_for(server, batch)
        assert server.request("POST", "/v1/batches", json=body).status == 200


def test_the_checksum_of_a_file_is_the_sha256_of_its_content(server, folder):
    file = upload(server, b"some text").json()
    description = json.loads((folder / "files" / file["id"] / "file.json").read_text())
    assert description["sha256"] == hashlib.sha256(b"some text").hexdigest()
    assert "sha256" not in file
