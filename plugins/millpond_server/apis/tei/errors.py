"""Errors in text-embeddings-inference's format: bodies, statuses and messages."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson
from starlette.responses import Response

from millpond import AsyncLLM
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError, as_api_error

ERROR_TYPES = {
    400: "Validation",
    413: "Validation",
    415: "Validation",
    422: "Tokenizer",
    429: "Overloaded",
    503: "Overloaded",
}
VALIDATION_STATUSES = (400, 415)
EMPTY = "Empty"
NOT_EMBEDDING_MODEL = "Model is not an embedding model"
UNSUPPORTED_TASK_MESSAGES: Mapping[str, str] = {
    "embed": NOT_EMBEDDING_MODEL,
    "token_embed": NOT_EMBEDDING_MODEL,
    "embed_sparse": "Model is not an embedding model with SPLADE pooling",
    "classify": "Model is not a classifier model",
    "score": "model is not a re-ranker model",
}
ERRORS = ("TeiError",)  # the schemas of error bodies in the OpenAPI description


def render_error(error: ApiError) -> Response:
    """Return an error response in text-embeddings-inference's format."""
    status, error_type = _status(error)
    return _response(error, status, {"error": error.message, "error_type": error_type})


def render_openai_error(error: ApiError) -> Response:
    """Return an error response with both formats, like text-embeddings-inference's paths for clients of OpenAI."""
    status, error_type = _status(error)
    openai_body = {"message": error.message, "code": status, "type": error_type}
    return _response(error, status, {**openai_body, "error": error.message, "error_type": error_type})


def _status(error: ApiError) -> tuple[int, str]:
    """Return the status and the type of an error: 422 for an invalid request, 424 for an unsupported one."""
    error_type = EMPTY if error.kind == EMPTY else ERROR_TYPES.get(error.status, "Backend")
    if error.status in VALIDATION_STATUSES and error_type != EMPTY:
        return 422, error_type
    return (424 if error.status == 500 else error.status), error_type  # noqa: PLR2004


def _response(error: ApiError, status: int, body: Mapping[str, Any]) -> Response:
    content = orjson.dumps(body)
    return Response(content, status_code=status, headers=error.headers, media_type="application/json")


@contextmanager
def tei_errors(call: Call) -> Iterator[None]:
    """Render all errors of the block in text-embeddings-inference's format."""
    try:
        yield
    except Exception as error:
        api_error = as_api_error(error, overload_status=call.settings.overload_status, served=call.served)
        api_error.render = render_error
        raise api_error from error


def check_task(llm: AsyncLLM, task: str, message: str | None = None) -> None:
    """Refuse a task that the model does not support.

    Args:
        llm: The model.
        task: The task.
        message: The message (default: text-embeddings-inference's message for the task).

    Raises:
        ApiError: 424 with the type "Backend".
    """
    if task not in llm.supported_tasks:
        raise backend_error(message or UNSUPPORTED_TASK_MESSAGES[task])


def backend_error(message: str) -> ApiError:
    """Return text-embeddings-inference's error for an unsupported operation."""
    return ApiError(424, f"Backend error: {message}", kind="Backend", reason="unsupported")


def check_not_empty_list(value: Any, name: str) -> None:
    """Refuse an empty list, with text-embeddings-inference's message.

    Raises:
        ApiError: 400 with the type "Empty".
    """
    if value == []:
        raise ApiError(400, f"`{name}` cannot be empty", kind=EMPTY, parameter=name, reason="invalid")


def check_inputs(inputs: Any) -> None:
    """Refuse an empty list and empty texts, like text-embeddings-inference.

    Raises:
        ApiError: 400 with the type "Empty" for a list, or "Validation" for texts.
    """
    check_not_empty_list(inputs, "inputs")
    if _is_empty(inputs) or (isinstance(inputs, list) and any(map(_is_empty, inputs))):
        raise ApiError(400, "`inputs` cannot be empty", parameter="inputs", reason="invalid")


def _is_empty(value: Any) -> bool:
    """Return True for an empty text, an empty list of token ids, or a pair of empty texts."""
    return value == "" or (isinstance(value, list) and all(text == "" for text in value))
