"""Errors in the words of text-embeddings-inference: its envelopes, statuses, and what it says of models and inputs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson
from starlette.responses import Response

from millpond import AsyncLLM
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError, answer, as_api_error

KINDS = {
    400: "Validation",
    413: "Validation",
    415: "Validation",
    422: "Tokenizer",
    429: "Overloaded",
    503: "Overloaded",
}
VALIDATION = (400, 415)
EMPTY = "Empty"
NO_EMBEDDINGS = "Model is not an embedding model"
UNSERVED: Mapping[str, str] = {
    "embed": NO_EMBEDDINGS,
    "token_embed": NO_EMBEDDINGS,
    "embed_sparse": "Model is not an embedding model with SPLADE pooling",
    "classify": "Model is not a classifier model",
    "score": "model is not a re-ranker model",
}
ERRORS = ("TeiError",)  # the bodies of its errors, by their names in the description of the routes


def render_error(error: ApiError) -> Response:
    """Write an error in the words of text-embeddings-inference."""
    status, kind = _status(error)
    return _response(error, status, {"error": error.message, "error_type": kind})


def render_openai_error(error: ApiError) -> Response:
    """Write an error as text-embeddings-inference does on its paths for clients of OpenAI; both envelopes in one."""
    status, kind = _status(error)
    own = {"message": error.message, "code": status, "type": kind}
    return _response(error, status, {**own, "error": error.message, "error_type": kind})


def _status(error: ApiError) -> tuple[int, str]:
    """The status and the type of an error: 422 is for a request at fault, 424 for a model that cannot serve it."""
    kind = EMPTY if error.kind == EMPTY else KINDS.get(error.status, "Backend")
    if error.status in VALIDATION and kind != EMPTY:
        return 422, kind
    return (424 if error.status == 500 else error.status), kind  # noqa: PLR2004


def _response(error: ApiError, status: int, body: Mapping[str, Any]) -> Response:
    content = orjson.dumps(body)
    return Response(content, status_code=status, headers=error.headers, media_type="application/json")


def render_of(fields: tuple[str, ...], error: ApiError) -> Response:
    """Write an error of a path with two dialects; in this one's format if it is in a field of this dialect's bodies."""
    ours = (error.parameter or "").startswith(fields)
    return (render_error if ours else answer)(error)


@contextmanager
def own_errors(call: Call) -> Iterator[None]:
    """Errors that are raised within are written in these words, whatever the route."""
    try:
        yield
    except Exception as error:
        failure = as_api_error(error, overload_status=call.settings.overload_status, served=call.served)
        failure.render = render_error
        raise failure from error


def check_serves(llm: AsyncLLM, task: str, message: str | None = None) -> None:
    """Refuse a task that the model does not serve.

    Args:
        llm: The model.
        task: The task.
        message: What is said; by default what text-embeddings-inference says of the task.

    Raises:
        ApiError: 424, of its kind "Backend".
    """
    if task not in llm.supported_tasks:
        raise backend_error(message or UNSERVED[task])


def backend_error(message: str) -> ApiError:
    """What a model cannot do, as text-embeddings-inference says it."""
    return ApiError(424, f"Backend error: {message}", kind="Backend", reason="unsupported")


def check_some(given: Any, name: str) -> None:
    """Refuse an empty list in the words of text-embeddings-inference.

    Raises:
        ApiError: 400, of its kind "Empty".
    """
    if given == []:
        raise ApiError(400, f"`{name}` cannot be empty", kind=EMPTY, parameter=name, reason="invalid")


def check_inputs(given: Any) -> None:
    """Refuse an empty list, and texts without characters among the inputs, as text-embeddings-inference does.

    Raises:
        ApiError: 400, of its kind "Empty" for a list, else of its kind "Validation".
    """
    check_some(given, "inputs")
    if _is_empty(given) or (isinstance(given, list) and any(map(_is_empty, given))):
        raise ApiError(400, "`inputs` cannot be empty", parameter="inputs", reason="invalid")


def _is_empty(given: Any) -> bool:
    """Whether an input is a text without characters, no token ids, or a pair of such texts."""
    return given == "" or (isinstance(given, list) and all(text == "" for text in given))
