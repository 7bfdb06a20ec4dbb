"""Files over HTTP: upload, list, download, delete; limits, and forms that cannot be read."""

import errno
import shutil
import threading
import time
from contextlib import ExitStack
from http.client import HTTPConnection
from types import SimpleNamespace

import pytest
from batch_client import form, request_line, start_batch, upload, wait_for

from millpond_server.apis.openai.batches import page_of
from millpond_server.batches.limits import BatchLimits
from millpond_server.batches.service import BatchService
from millpond_server.http import body as http_body
from millpond_server.http.errors import ApiError

BOUNDARY = "0123456789"


def stored_paths(folder):
    """Return the names of the files and folders of uploads."""
    return sorted(path.name for path in (folder / "files").rglob("*"))


def test_files_are_listed_shown_downloaded_and_deleted(server):
    ids = [upload(server, f"{number}".encode()).json()["id"] for number in range(3)]
    listed = server.request("GET", "/v1/files?purpose=batch&limit=2").json()
    assert (len(listed["data"]), listed["has_more"]) == (2, True)
    rest = server.request("GET", f"/v1/files?after={listed['last_id']}").json()
    assert {it["id"] for it in [*listed["data"], *rest["data"]]} == set(ids)
    shown = server.request("GET", f"/v1/files/{ids[0]}").json()
    assert (shown["object"], shown["bytes"], shown["filename"], shown["purpose"]) == ("file", 1, "rows.jsonl", "batch")
    assert server.request("GET", f"/v1/files/{ids[0]}/content").content == b"0"
    assert server.request("DELETE", f"/v1/files/{ids[0]}").json() == {"id": ids[0], "object": "file", "deleted": True}
    assert server.request("GET", f"/v1/files/{ids[0]}").status == 404


@pytest.mark.parametrize("path", ["file-" + 32 * "0", "..%2F..%2Fetc%2Fpasswd", "file-.."])
def test_an_unknown_file_answers_404(server, path):
    assert server.request("GET", f"/v1/files/{path}/content").status == 404


@pytest.mark.parametrize("query", ["limit=0", "limit=%C2%B2", "limit=10001", "limit=1e3", "after=file-0", "order=zz"])
def test_an_invalid_page_answers_400(server, query):
    assert server.request("GET", f"/v1/files?{query}").status == 400


def test_a_page_describes_its_own_objects_only():
    described = []

    class Listed:
        def __init__(self, number):
            self.id = f"file-{number}"

        def as_response(self):
            described.append(self.id)
            return {"id": self.id}

    call = SimpleNamespace(query={"limit": "2", "after": "file-3", "order": "asc"})
    page = page_of([Listed(number) for number in range(9, 0, -1)], call, 20)
    assert (page["first_id"], page["last_id"], page["has_more"]) == ("file-4", "file-5", True)
    assert described == ["file-4", "file-5"]


def test_uploads_have_limits(start):
    with start(settings={"max_upload_bytes": 5000, "max_files": 1}) as server:
        assert upload(server, b"x" * 6000).status == 413
        assert upload(server, b"x", purpose="fine-tune").status == 400
        assert upload(server, b"x" * 4000).status == 200
        answer = upload(server, b"x")
        assert answer.status == 400
        assert "the maximum: delete some" in answer.text


def test_an_upload_may_be_larger_than_a_body(start):
    limits = {"body_bytes": 1000}
    with start(settings={"limits": limits}) as server:
        assert upload(server, b"x" * 100_000).json()["bytes"] == 100_000


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "a\\..\\b", "." * 300, "\u00e4\u200b.jsonl"])
def test_a_file_name_is_never_a_path(server, folder, name):
    file = upload(server, b"x", filename=name).json()
    assert file["filename"] == name[:255]
    assert stored_paths(folder) == sorted([file["id"], "content", "file.json"])


def plain_form():
    return form(b"x", boundary=BOUNDARY)[1]


FORMS = {
    "of JSON": ("application/json", b"{}"),
    "url-encoded": ("application/x-www-form-urlencoded", b"file=x&purpose=batch"),
    "without boundary": ("multipart/form-data", plain_form()),
    "with a different boundary": ("multipart/form-data; boundary=other", plain_form()),
    "with a character set": (f"multipart/form-data; boundary={BOUNDARY}; charset=punycode", plain_form()),
    "with a long boundary": (f"multipart/form-data; boundary={'b' * 5000}", b"x"),
    "that is empty": (f"multipart/form-data; boundary={BOUNDARY}", b""),
    "that is truncated": (f"multipart/form-data; boundary={BOUNDARY}", plain_form()[:-20]),
    "of zeros": (f"multipart/form-data; boundary={BOUNDARY}", bytes(100_000)),
    "with a text as file": (
        f"multipart/form-data; boundary={BOUNDARY}",
        plain_form().replace(b"; filename", b"; other"),
    ),
    "without names": (f"multipart/form-data; boundary={BOUNDARY}", plain_form().replace(b"; name", b"; other")),
    "with a long purpose": (
        f"multipart/form-data; boundary={BOUNDARY}",
        form(b"x", purpose="p" * 5000, boundary=BOUNDARY)[1],
    ),
    "with a long header": (
        f"multipart/form-data; boundary={BOUNDARY}",
        plain_form().replace(b"octet-stream", b"o" * 1_000_000),
    ),
    "with two files": (f"multipart/form-data; boundary={BOUNDARY}", plain_form()[: -len(BOUNDARY) - 6] + plain_form()),
    "with many fields": (
        f"multipart/form-data; boundary={BOUNDARY}",
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'.encode() * 1000,
    ),
}


@pytest.mark.parametrize("kind", FORMS)
def test_a_form_that_cannot_be_read_answers_400_and_stores_nothing(server, folder, kind):
    content_type, body = FORMS[kind]
    answer = server.request("POST", "/v1/files", content=body, headers={"content-type": content_type})
    assert answer.status == 400, answer.text
    assert answer.json()["error"]["message"]
    assert stored_paths(folder) == []


def test_a_compressed_form_is_not_decompressed(server, folder):
    content_type, body = form(b"x")
    headers = {"content-type": content_type, "content-encoding": "gzip"}
    assert server.request("POST", "/v1/files", content=body, headers=headers).status in (200, 415)
    assert all(path.stat().st_size < 1000 for path in (folder / "files").rglob("*") if path.is_file())


def test_concurrent_uploads_stay_within_the_number_of_files(start):
    with start(settings={"max_files": 3}) as server:
        statuses = []
        threads = [
            threading.Thread(target=lambda: statuses.append(upload(server, b"x" * 3_000_000).status)) for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses.count(200) == len(server.request("GET", "/v1/files").json()["data"]) <= 3
        assert set(statuses) <= {200, 400, 503}


def test_uploads_of_one_key_leave_room_for_those_of_others(folder):
    service = BatchService(str(folder), BatchLimits())
    with ExitStack() as uploads:
        for _ in range(4):
            uploads.enter_context(service.uploading("alice"))
        with pytest.raises(ApiError, match="4 files are being uploaded with this API key") as refused:
            uploads.enter_context(service.uploading("alice"))
        assert refused.value.status == 503
        for _ in range(4):
            uploads.enter_context(service.uploading("bob"))
        with pytest.raises(ApiError, match="8 files are being uploaded, the maximum"):
            uploads.enter_context(service.uploading("carol"))
    assert service.num_uploads == 0
    with ExitStack() as uploads:
        for _ in range(8):  # a server without keys
            uploads.enter_context(service.uploading(""))


def test_an_upload_over_the_limit_stores_nothing(start, folder):
    with start(settings={"max_upload_bytes": 5000}) as server:
        content_type, body = form(b"x" * 200_000)
        parts = (body[at : at + 1000] for at in range(0, len(body), 1000))
        try:
            status = server.request("POST", "/v1/files", content=parts, headers={"content-type": content_type}).status
        except ConnectionError:  # the server closed the connection while the client was still sending
            status = 413
        assert status == 413
        assert stored_paths(folder) == []


def test_a_client_that_leaves_during_its_upload_stores_nothing(server, folder):
    content_type, body = form(b"x" * 100_000)
    connection = HTTPConnection(server.url.removeprefix("http://"))
    connection.putrequest("POST", "/v1/files")
    connection.putheader("content-type", content_type)
    connection.putheader("content-length", str(len(body)))
    connection.endheaders(body[:50_000])
    connection.close()
    deadline = time.monotonic() + 60
    while server.server.state.batches.num_uploads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.server.state.batches.num_uploads == 0
    assert stored_paths(folder) == []


def test_an_upload_that_stops_answers_408(start, monkeypatch):
    monkeypatch.setattr(http_body, "MIN_UPLOAD_RATE", 2**30)
    with start(settings={"limits": {"body_seconds": 0.2}}) as server:
        content_type, body = form(b"x" * 1000)
        connection = HTTPConnection(server.url.removeprefix("http://"), timeout=60)
        connection.putrequest("POST", "/v1/files")
        connection.putheader("content-type", content_type)
        connection.putheader("content-length", str(len(body)))
        connection.endheaders(body[:500])
        assert connection.getresponse().status == 408
        connection.close()


def test_a_full_disk_answers_503_without_the_path(server, folder, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))

    monkeypatch.setattr(shutil, "copyfileobj", fail)
    answer = upload(server, b"x")
    assert answer.status == 503
    assert "No space left on device" in answer.text
    assert str(folder) not in answer.text
    monkeypatch.undo()
    assert stored_paths(folder) == []
    assert upload(server, b"x").status == 200


def test_the_input_of_an_unfinished_batch_cannot_be_deleted(server):
    batch = start_batch(server, [request_line(number) for number in range(2000)])
    answer = server.request("DELETE", f"/v1/files/{batch['input_file_id']}")
    assert answer.status == 400
    assert "cancel it first" in answer.text
    server.request("POST", f"/v1/batches/{batch['id']}/cancel")
    wait_for(server, batch)
    assert server.request("DELETE", f"/v1/files/{batch['input_file_id']}").status == 200


def test_the_output_of_a_batch_cannot_be_an_input(server):
    batch = wait_for(server, start_batch(server, [request_line(0)]))
    body = {"input_file_id": batch["output_file_id"], "endpoint": "/v1/embeddings"}
    answer = server.request("POST", "/v1/batches", json=body)
    assert answer.status == 400
    assert "is the output of a batch" in answer.text


def test_a_file_of_blank_lines_fails_its_batch(server):
    batch = wait_for(server, start_batch(server, ["", " "]))
    assert (batch["status"], batch["errors"]["data"][0]["code"]) == ("failed", "empty_file")


def test_an_empty_file_is_refused_like_openai_does(server, folder):
    answer = upload(server, b"")
    error = answer.json()["error"]
    assert (answer.status, error["message"], error["type"]) == (400, "File is empty.", "invalid_request_error")
    assert stored_paths(folder) == []
