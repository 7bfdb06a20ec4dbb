"""Handlers of ``/v1/files`` and ``/v1/batches``."""

import asyncio
import re
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, BinaryIO

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import FileResponse

from millpond import AsyncLLM
from millpond_server.apis.openai.batch_schemas import BatchRequest
from millpond_server.batches.batch import Batch
from millpond_server.batches.files import INVALID_REQUEST, HashingWriter, StoredFile
from millpond_server.batches.service import BatchService
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError

FORM = "multipart/form-data"
MAX_FORM_FIELDS, MAX_FIELD_BYTES = 10, 1024
PAGE_SIZE = re.compile(r"[0-9]{1,6}")
MAX_PAGE = 10_000
ORDERS = ("asc", "desc")
DEFAULT_PAGE = {"files": 10_000, "batches": 20}


async def upload_file(request: Request, _: AsyncLLM, call: Call) -> Any:
    """Store the file of a multipart form with the fields ``file`` and ``purpose``."""
    service = service_of(call)
    media_type, __, parameters = call.headers.get("content-type", "").lower().partition(";")
    if media_type.strip() != FORM or "charset" in parameters:
        message = f"expected the content type {FORM}, in UTF-8"
        raise ApiError(400, message, parameter="content-type", reason="invalid")
    with service.uploading(call.owner):
        try:
            async with request.form(max_files=1, max_fields=MAX_FORM_FIELDS, max_part_size=MAX_FIELD_BYTES) as form:
                file, purpose = form.get("file"), form.get("purpose")
                if not isinstance(file, UploadFile):
                    raise ApiError(400, "the form needs a field 'file' with a file", parameter="file", reason="invalid")
                if purpose != "batch":
                    raise ApiError(400, "purpose must be 'batch'", parameter="purpose", reason="invalid")
                if file.size == 0:
                    raise ApiError(400, "File is empty.", kind=INVALID_REQUEST, reason="invalid")
                create = partial(service.files.create, call.owner, file.filename or "file", "batch")
                with service.files.reserving_bytes(call.owner, file.size or 0):
                    stored = await asyncio.to_thread(create, _copier(file.file))
        except MultiPartException as error:
            raise ApiError(400, f"the form cannot be read: {error.message}", reason="invalid") from None
        except OSError as error:
            raise storage_error(error) from error
    return stored.as_response()


async def list_files(_: Any, __: AsyncLLM, call: Call) -> Any:
    """Return the files of the API key."""
    service = service_of(call)
    purpose = call.query.get("purpose")
    chosen = [file for file in service.files.of_owner(call.owner) if purpose in (None, file.purpose)]
    return page_of(chosen, call, DEFAULT_PAGE["files"])


async def show_file(_: Any, __: AsyncLLM, call: Call) -> Any:
    """Return the description of a file."""
    return service_of(call).files.get(call.owner, call.path_values["id"]).as_response()


async def file_content(_: Any, __: AsyncLLM, call: Call) -> FileResponse:
    """Return the content of a file, if it is not damaged."""
    service = service_of(call)
    file = service.files.get(call.owner, call.path_values["id"])
    try:
        await service.check_content(file)
    except FileNotFoundError:  # deleted at the same time, or by hand
        message = f"The content of {file.id} does not exist"
        raise ApiError(404, message, kind="NotFoundError", parameter="file_id") from None
    except OSError as error:
        raise storage_error(error) from error
    return FileResponse(service.files.path(file), media_type="application/octet-stream")


async def delete_file(_: Any, __: AsyncLLM, call: Call) -> Any:
    """Delete a file that no unfinished batch reads."""
    service = service_of(call)
    file = service.files.get(call.owner, call.path_values["id"])
    batch = service.reader_of(file)
    if batch is not None:
        message = f"{file.id} is the input of {batch.id}, which has the status {batch.status!r}: cancel it first"
        raise ApiError(400, message, parameter="file_id", reason="invalid")
    await asyncio.to_thread(service.files.delete, file)
    return {"id": file.id, "object": "file", "deleted": True}


async def create_batch(request: BatchRequest, _: AsyncLLM, call: Call) -> Any:
    """Start a batch."""
    service = service_of(call)
    if request.endpoint not in service.endpoints:
        message = f"endpoint: unknown {request.endpoint[:200]!r}. Available: {', '.join(sorted(service.endpoints))}"
        raise ApiError(400, message, parameter="endpoint", reason="invalid")
    file = service.files.get(call.owner, request.input_file_id)
    if file.purpose != "batch":
        message = f"{file.id} is the output of a batch: upload a file with the purpose 'batch'"
        raise ApiError(400, message, parameter="input_file_id", reason="invalid")
    try:
        batch = await service.create(
            call.owner,
            endpoint=request.endpoint,
            input_file_id=file.id,
            window=request.completion_window,
            seconds=request.seconds,
            metadata=request.metadata,
        )
    except OSError as error:
        raise storage_error(error) from error
    return batch.as_response()


async def list_batches(_: Any, __: AsyncLLM, call: Call) -> Any:
    """Return the batches of the API key, the newest first."""
    return page_of(service_of(call).batches.of_owner(call.owner), call, DEFAULT_PAGE["batches"])


async def show_batch(_: Any, __: AsyncLLM, call: Call) -> Any:
    """Return a batch."""
    return service_of(call).batches.get(call.owner, call.path_values["id"]).as_response()


async def cancel_batch(_: Any, __: AsyncLLM, call: Call) -> Any:
    """Cancel a batch; its finished requests are in the output file."""
    service = service_of(call)
    batch = service.batches.get(call.owner, call.path_values["id"])
    if batch.has_ended:
        message = f"cannot cancel a batch with the status {batch.status!r}"
        raise ApiError(400, message, parameter="batch_id", reason="invalid")
    await service.cancel(batch)
    return batch.as_response()


def service_of(call: Call) -> BatchService:
    """Return the files and batches of the server.

    Raises:
        ApiError: 404 if the server has none.
    """
    service = call.state.batches
    if service is None:
        raise ApiError(404, "files and batches need a server started with --batch-dir", kind="NotFoundError")
    return service


def storage_error(error: OSError) -> ApiError:
    """Return the error for a full or broken disk; its path is not shown to clients."""
    message = f"the server cannot store this: {error.strerror or 'its disk failed'}"
    return ApiError(503, message, kind="storage_error", retry_after=10.0, reason="storage")


def page_of(objects: Sequence[StoredFile | Batch], call: Call, default: int) -> dict[str, Any]:
    """Return a page of a list, by the query fields ``after``, ``limit`` and ``order``.

    Raises:
        ApiError: 400 if a field is invalid.
    """
    query = call.query
    limit = query.get("limit", str(default))
    if PAGE_SIZE.fullmatch(limit) is None or not 1 <= int(limit) <= MAX_PAGE:
        raise ApiError(400, f"limit must be a number from 1 to {MAX_PAGE}", parameter="limit", reason="invalid")
    order = query.get("order", "desc")
    if order not in ORDERS:
        raise ApiError(400, f"order must be one of {', '.join(ORDERS)}", parameter="order", reason="invalid")
    ordered = list(reversed(objects)) if order == "asc" else list(objects)
    ids = [item.id for item in ordered]
    after = query.get("after")
    if after is not None and after not in ids:
        raise ApiError(400, f"after: unknown id {after[:64]!r}", parameter="after", reason="invalid")
    start = 0 if after is None else ids.index(after) + 1
    page = ordered[start : start + int(limit)]
    return {
        "object": "list",
        "data": [item.as_response() for item in page],
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
        "has_more": start + len(page) < len(ordered),
    }


def _copier(file: BinaryIO) -> Callable[[HashingWriter], None]:
    def write(target: HashingWriter) -> None:
        file.seek(0)
        shutil.copyfileobj(file, target)

    return write
