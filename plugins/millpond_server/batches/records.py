"""Lines of output and error files, in OpenAI's format."""

from typing import Any

import orjson

from millpond_server.batches.dispatch import Answer
from millpond_server.batches.lines import Line

FIRST_ERROR_STATUS = 400


def request_id(batch_id: str, line: Line) -> str:
    """Return the id of a request: the same after a restart."""
    return f"batch_req_{batch_id.removeprefix('batch_')}_{line.number}"


def answer_record(batch_id: str, line: Line, answer: Answer) -> tuple[dict[str, Any], bool]:
    """Return the record of a response, and True if it belongs into the error file."""
    if not answer.is_complete:
        return error_record(batch_id, line, "incomplete", "the server failed while it wrote the response"), True
    if not answer.headers.get("content-type", "").startswith("application/json"):
        message = "the response is not JSON: request an encoding that is, such as base64"
        return error_record(batch_id, line, "not_json", message), True
    body = orjson.Fragment(answer.body.replace(b"\n", b" "))  # a record is one line
    response = {"status_code": answer.status, "request_id": request_id(batch_id, line), "body": body}
    record = {"id": request_id(batch_id, line), "custom_id": line.custom_id, "response": response, "error": None}
    return record, answer.status >= FIRST_ERROR_STATUS


def error_record(batch_id: str, line: Line, code: str, message: str) -> dict[str, Any]:
    """Return the record of a request without response, with the number of its line."""
    error = {"code": code, "message": f"line {line.number}: {message}", "line": line.number}
    return {"id": request_id(batch_id, line), "custom_id": line.custom_id, "response": None, "error": error}
