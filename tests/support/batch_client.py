"""Requests to `/v1/files` and `/v1/batches` for tests, by any object with the method `request` of `RunningServer`."""

import json
import time
from uuid import uuid4

DEADLINE_S = 240.0
ENDED = ("completed", "failed", "expired", "cancelled")


def request_line(number, **changes):
    line = {
        "custom_id": f"request-{number}",
        "method": "POST",
        "url": "/v1/embeddings",
        "body": {"model": "bert", "input": f"the cat {number}"},
    }
    return line | changes


def content_of(lines):
    return "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines).encode()


def form(content, *, purpose="batch", filename="rows.jsonl", boundary=None):
    """Return the content type and the body of an upload."""
    boundary = boundary or uuid4().hex
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode() + content
    return f"multipart/form-data; boundary={boundary}", body + f"\r\n--{boundary}--\r\n".encode()


def upload(server, content, headers=None, **fields):
    content_type, body = form(content, **fields)
    return server.request("POST", "/v1/files", content=body, headers={"content-type": content_type, **(headers or {})})


def start_batch(server, lines, headers=None, **fields):
    file = upload(server, content_of(lines), headers=headers).json()
    body = {"input_file_id": file["id"], "endpoint": "/v1/embeddings", "completion_window": "24h", **fields}
    answer = server.request("POST", "/v1/batches", json=body, headers=headers)
    assert answer.status == 200, answer.text
    return answer.json()


def wait_for(server, batch, *statuses, headers=None, seconds=DEADLINE_S):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        batch = server.request("GET", f"/v1/batches/{batch['id']}", headers=headers).json()
        if batch["status"] in (statuses or ENDED):
            return batch
        time.sleep(0.02)
    raise TimeoutError(batch)


def records(server, file_id, headers=None):
    answer = server.request("GET", f"/v1/files/{file_id}/content", headers=headers)
    assert answer.status == 200
    return [json.loads(line) for line in answer.text.splitlines()]
