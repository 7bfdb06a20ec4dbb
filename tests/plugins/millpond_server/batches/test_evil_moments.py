"""Batches interrupted at critical moments: lost results, expiry while waiting, shutdown while files are written."""

import asyncio
import errno
import threading

import pytest
from batch_client import records, request_line, start_batch, upload, wait_for

from millpond_server.batches import worker
from millpond_server.batches.worker import in_thread


@pytest.fixture
def quick_retries(monkeypatch):
    monkeypatch.setattr(worker, "STORAGE_RETRY_S", 0.01)


@pytest.mark.usefixtures("quick_retries")
def test_results_that_were_lost_while_the_files_were_written_are_computed_again(start, folder, monkeypatch):
    """Such as by a power failure. They were reported as expired."""
    lines, write_outputs, calls = [request_line(number) for number in range(5)], worker.write_outputs, []

    def fail_once(batch, input_lines, log, files, batches):
        calls.append(batch.id)
        if len(calls) == 1:
            batches.set_status(batch, "finalizing", after={"in_progress"})
            path = folder / "batches" / batch.id / "results.jsonl"
            path.write_bytes(path.read_bytes()[:-10])
            raise OSError(errno.EIO, "Input/output error")
        write_outputs(batch, input_lines, log, files, batches)

    monkeypatch.setattr(worker, "write_outputs", fail_once)
    with start() as server:
        batch = wait_for(server, start_batch(server, lines))
        assert (batch["status"], batch["error_file_id"], len(calls)) == ("completed", None, 2)
        output = records(server, batch["output_file_id"])
    assert [record["custom_id"] for record in output] == [line["custom_id"] for line in lines]


def test_a_batch_that_waits_for_others_expires_in_time(start, monkeypatch):
    monkeypatch.setattr(worker, "MAX_RUNNING_OF_KEY", 0)
    with start() as server:
        batch = wait_for(server, start_batch(server, [request_line(0), "{"], completion_window="1s"), seconds=60)
        codes = [record["error"]["code"] for record in records(server, batch["error_file_id"])]
    assert (batch["status"], batch["request_counts"]) == ("expired", {"total": 2, "completed": 0, "failed": 2})
    assert codes == ["batch_expired", "batch_expired"]


def test_a_shutdown_waits_for_a_thread_that_writes():
    """Else the next server could use the folder at the same time."""
    may_end, ended = threading.Event(), []

    def write():
        may_end.wait()
        ended.append(True)

    async def run():
        task = asyncio.ensure_future(in_thread(write))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=0.1)
        assert not task.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended

    asyncio.run(run())


def test_a_file_whose_content_was_removed_by_hand_answers_404(server, folder):
    file = upload(server, b"x").json()
    (folder / "files" / file["id"] / "content").unlink()
    answer = server.request("GET", f"/v1/files/{file['id']}/content")
    assert answer.status == 404
    assert str(folder) not in answer.text


def test_a_batch_that_cannot_be_stored_leaves_nothing(server, folder, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    file = upload(server, b"x").json()
    monkeypatch.setattr("millpond_server.batches.store.write_checked", fail)
    body = {"input_file_id": file["id"], "endpoint": "/v1/embeddings"}
    assert server.request("POST", "/v1/batches", json=body).status == 503
    assert list((folder / "batches").iterdir()) == []
    assert server.request("GET", "/v1/batches").json()["data"] == []


def test_files_stay_with_the_key_that_created_them_when_keys_are_replaced(start):
    old, new = {"authorization": "Bearer old"}, {"authorization": "Bearer new"}
    with start(api_keys=("old",)) as server:
        batch = start_batch(server, [request_line(number) for number in range(50)], headers=old)
    paths = [f"/v1/files/{batch['input_file_id']}/content", f"/v1/batches/{batch['id']}"]
    with start(api_keys=("new",)) as server:  # the batch goes on
        assert [server.request("GET", path, headers=new).status for path in paths] == [404, 404]
        assert [server.request("GET", path, headers=old).status for path in paths] == [401, 401]
        assert server.request("GET", "/v1/files", headers=new).json()["data"] == []
    with start(api_keys=("new", "old")) as server:
        batch = wait_for(server, batch, headers=old)
        assert (batch["status"], batch["request_counts"]["completed"]) == ("completed", 50)
        assert [server.request("GET", path, headers=new).status for path in paths] == [404, 404]
