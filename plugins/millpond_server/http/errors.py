"""Error responses: status, type and a body that clients of several APIs can read; short forms of values in messages."""

import os
from collections.abc import Callable, Collection, Mapping
from reprlib import Repr
from typing import TYPE_CHECKING, Any

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response

from millpond.types.errors import (
    BlockedInputError,
    ComponentError,
    EngineClosedError,
    EngineError,
    EngineOverloadedError,
    InsufficientMemoryError,
    InvalidInputError,
    NonFiniteOutputError,
    RequestCancelledError,
    SpaceMismatchError,
)

if TYPE_CHECKING:
    from millpond_server.runtime.models import ServedModel

MAX_VALUE_CHARS = 120
MAX_MESSAGE_CHARS = 4000
MAX_VALUE_DEPTH = 4  # levels of lists and objects
MAX_VALUE_ITEMS = 8  # of a list or an object
_short = Repr()
_short.maxlevel = MAX_VALUE_DEPTH
_short.maxlist = _short.maxdict = _short.maxtuple = MAX_VALUE_ITEMS
_short.maxstring = _short.maxlong = _short.maxother = MAX_VALUE_CHARS
INPUT_FIELDS = ("input", "inputs", "texts", "images", "messages", "prompt")
# The fields of bodies that become an argument of `AsyncLLM`.
FIELDS_OF_ARGUMENT: Mapping[str | None, tuple[str, ...]] = {
    "prompts": INPUT_FIELDS,
    "prompt_token_ids": INPUT_FIELDS,
    "multi_modal_data": INPUT_FIELDS,
    "data_1": ("query", "queries", "text_1"),
    "data_2": ("documents", "items", "text_2", "texts"),
    "pooling_task": ("task",),
}
ERROR_TYPES: Mapping[int, str] = {
    400: "BadRequestError",
    401: "AuthenticationError",
    404: "NotFoundError",
    405: "MethodNotAllowedError",
    408: "RequestTimeoutError",
    409: "ConflictError",
    411: "LengthRequiredError",
    413: "RequestTooLargeError",
    415: "UnsupportedMediaTypeError",
    421: "MisdirectedRequestError",
    422: "UnprocessableEntityError",
    429: "overloaded_error",
    431: "HeadersTooLargeError",
    500: "InternalServerError",
    501: "NotImplementedError",
    503: "overloaded_error",
    504: "DeadlineExceededError",
}


class ApiError(Exception):
    """An error response.

    Attributes:
        status: The HTTP status.
        message: The message for the client.
        kind: The error type in the body (default: that of the status).
        parameter: The name of the invalid field.
        retry_after: The number of seconds after which the client may retry.
        reason: The reason for metrics and the access log, from a fixed set.
        render: Writes the response, if it differs from the route's other errors.
        variant: The tag of the body's model, for a path of several APIs whose bodies differ.
        detail: The field ``detail`` of the response, if it differs from the message.
        extra_headers: Headers of the response, in addition to those of ``retry_after``.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str | None = None,
        parameter: str | None = None,
        retry_after: float | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = shortened(message)
        self.kind = kind or ERROR_TYPES.get(status, "InternalServerError")
        self.parameter = parameter
        self.retry_after = retry_after
        self.reason = reason or self.kind
        self.render: Callable[[ApiError], Response] | None = None
        self.variant: str | None = None
        self.detail: str | None = None
        self.extra_headers: Mapping[str, str] = {}

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the response, such as ``retry-after``."""
        if self.retry_after is None:
            return dict(self.extra_headers)
        seconds = max(self.retry_after, 0.001)
        retry = {"retry-after": str(max(round(seconds + 0.5), 1)), "retry-after-ms": str(max(round(seconds * 1000), 1))}
        return {**self.extra_headers, **retry}


# The arguments of `ApiError` for exceptions of Millpond; the first match is used.
API_ERRORS: tuple[tuple[type[BaseException], dict[str, Any]], ...] = (
    (
        EngineClosedError,
        {
            "status": 503,
            "message": "the model accepts no requests: the server is shutting down, or its engine crashed",
            "retry_after": 1.0,
            "reason": "closed",
        },
    ),
    (RequestCancelledError, {"status": 499, "message": "the request was cancelled", "reason": "cancelled"}),
    (
        NonFiniteOutputError,
        {"status": 500, "message": "the model computed NaN or infinity for an input", "kind": "non_finite_output"},
    ),
    (
        InsufficientMemoryError,
        {
            "status": 503,
            "message": "there is not enough memory for an input, even though it was computed alone",
            "kind": "insufficient_memory",
            "retry_after": 10.0,
            "reason": "memory",
        },
    ),
    (
        BlockedInputError,
        {
            "status": 500,
            "message": "the model has just failed on an input; it is refused for a while",
            "reason": "blocked",
        },
    ),
    (EngineError, {"status": 500, "message": "the model failed on an input", "reason": "engine"}),
    (TimeoutError, {"status": 504, "message": "the request was not done by its deadline", "reason": "deadline"}),
    (BaseException, {"status": 500, "message": "the server failed on this request", "reason": "internal"}),
)


def as_api_error(
    error: BaseException,
    *,
    overload_status: int = 503,
    served: "ServedModel | None" = None,
    fields: Collection[str] = (),
) -> ApiError:
    """Return the error response for an exception; unknown exceptions become a general error of the server.

    For a failing component of a plugin, the message contains the plugin, the kind and the name of the component, and
    not the text of the exception.

    Args:
        error: The exception.
        overload_status: The status of requests refused for overload.
        served: The model of the request; messages contain its served name instead of its folder.
        fields: The names of the body's fields.
    """
    if isinstance(error, ApiError):
        error.message = _public(error.message, served)
        return error
    if isinstance(error, InvalidInputError):
        status, reason = (409, "space") if isinstance(error, SpaceMismatchError) else (400, "invalid")
        parameter = field_of(error.parameter, fields)
        return ApiError(status, _public(str(error), served), parameter=parameter, reason=reason)
    if isinstance(error, HTTPException):
        return _from_http_exception(error)
    if isinstance(error, EngineOverloadedError):
        wait = 1.0 if error.retry_after is None else error.retry_after
        return ApiError(overload_status, str(error), retry_after=wait, reason="queue")
    if isinstance(error, ComponentError):
        return ApiError(500, error.public, reason="engine")
    return ApiError(**next(arguments for error_type, arguments in API_ERRORS if isinstance(error, error_type)))


def _from_http_exception(error: HTTPException) -> ApiError:
    kind = ERROR_TYPES.get(error.status_code) or type(error).__name__
    api_error = ApiError(error.status_code, str(error.detail), kind=kind, reason="route")
    api_error.extra_headers = dict(error.headers or {})
    return api_error


def _public(message: str, served: "ServedModel | None") -> str:
    """Return a message with the served name of the model instead of its folder."""
    model = "" if served is None else served.llm.model_config.model
    return message if served is None or os.sep not in model else message.replace(model, served.name)


def error_response(error: ApiError) -> Response:
    """Return an error response that clients of OpenAI, Cohere, Jina, and older versions of vLLM can read."""
    fields = {"message": error.message, "type": error.kind, "param": error.parameter, "code": error.status}
    body: dict[str, Any] = {"error": fields, "detail": error.detail or error.message, "object": "error", **fields}
    return Response(
        orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS),
        status_code=error.status,
        headers=error.headers,
        media_type="application/json",
    )


def short_repr(value: object) -> str:
    """Return a short ``repr`` of a value."""
    return shortened(_short.repr(value), MAX_VALUE_CHARS)


def shortened(text: str, max_chars: int = MAX_MESSAGE_CHARS) -> str:
    """Return the beginning of a text, with dots if it was shortened."""
    return text if len(text) <= max_chars else f"{text[:max_chars]}..."


def field_names(body: object) -> frozenset[str]:
    """Return the names of a body's fields, without those that are null."""
    if not isinstance(body, dict):
        return frozenset()
    return frozenset(name for name, value in body.items() if value is not None)


def field_of(parameter: str | None, fields: Collection[str]) -> str | None:
    """Return the field that an argument of `AsyncLLM` came from; the argument's name if the body has no such field."""
    return next((name for name in FIELDS_OF_ARGUMENT.get(parameter, ()) if name in fields), parameter)
