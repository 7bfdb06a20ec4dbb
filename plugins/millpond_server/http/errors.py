"""Errors as answers: status, type, and one body that the clients of several APIs can read; values shown in them."""

import os
from collections.abc import Callable, Collection, Mapping
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
)

if TYPE_CHECKING:
    from millpond_server.runtime.models import ServedModel
from reprlib import Repr

LONGEST_VALUE = 120  # characters
LONGEST_MESSAGE = 4000  # characters
DEEPEST = 4  # levels of lists and objects
ITEMS = 8  # of a list or an object
_short = Repr()
_short.maxlevel = DEEPEST
_short.maxlist = _short.maxdict = _short.maxtuple = ITEMS
_short.maxstring = _short.maxlong = _short.maxother = LONGEST_VALUE
INPUTS = ("input", "inputs", "texts", "images", "messages", "prompt")
FIELDS: Mapping[str | None, tuple[str, ...]] = {
    "prompts": INPUTS,
    "prompt_token_ids": INPUTS,
    "multi_modal_data": INPUTS,
    "data_1": ("query", "queries", "text_1"),
    "data_2": ("documents", "items", "text_2", "texts"),
    "pooling_task": ("task",),
}
TYPES: Mapping[int, str] = {
    400: "BadRequestError",
    401: "AuthenticationError",
    404: "NotFoundError",
    405: "MethodNotAllowedError",
    408: "RequestTimeoutError",
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
    """A request that is answered by an error.

    Attributes:
        status: The HTTP status.
        message: What is wrong, for whoever wrote the request.
        kind: The type in the body; by default the status's.
        parameter: The field at fault.
        retry_after: In how many seconds it may be tried again.
        reason: Why it was refused, from a fixed set, for metrics.
        render: How it is written, where not as the route's other errors are.
        detail: The field ``detail`` of the answer, where it is not the message.
        further_headers: Headers of the answer beside those of ``retry_after``.
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
        self.kind = kind or TYPES.get(status, "InternalServerError")
        self.parameter = parameter
        self.retry_after = retry_after
        self.reason = reason or self.kind
        self.render: Callable[[ApiError], Response] | None = None
        self.detail: str | None = None
        self.further_headers: Mapping[str, str] = {}

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the answer, such as when to come again."""
        if self.retry_after is None:
            return dict(self.further_headers)
        seconds = max(self.retry_after, 0.001)
        again = {"retry-after": str(max(round(seconds + 0.5), 1)), "retry-after-ms": str(max(round(seconds * 1000), 1))}
        return {**self.further_headers, **again}


# What each error of Millpond means to a client, the first that fits; what else fails is the server's fault.
MEANINGS: tuple[tuple[type[BaseException], dict[str, Any]], ...] = (
    (
        EngineClosedError,
        {
            "status": 503,
            "message": "the model takes no requests: the server is shutting down, or its engine has died",
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
            "message": "there is not enough memory for an input, though it was computed alone",
            "kind": "insufficient_memory",
            "retry_after": 10.0,
            "reason": "memory",
        },
    ),
    (
        BlockedInputError,
        {
            "status": 500,
            "message": "the model has just failed on an input, which for a while is not tried again",
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
    """What the errors of Millpond mean to a client; of others only that the server failed.

    Of a component that failed the client learns the plugin, the kind and the name, not the text of what it raised.

    Args:
        error: What was raised.
        overload_status: The status of what is refused because too much waits.
        served: The model that was asked; it is told of by the name that clients know, not by the folder that it is in.
        fields: The names of the body's fields.
    """
    if isinstance(error, ApiError):
        error.message = _public(error.message, served)
        return error
    if isinstance(error, InvalidInputError):
        return ApiError(400, _public(str(error), served), parameter=field_of(error.parameter, fields), reason="invalid")
    if isinstance(error, HTTPException):
        return _of_handler(error)
    if isinstance(error, EngineOverloadedError):
        wait = 1.0 if error.retry_after is None else error.retry_after
        return ApiError(overload_status, str(error), retry_after=wait, reason="queue")
    if isinstance(error, ComponentError):
        return ApiError(500, error.public, reason="engine")
    return ApiError(**next(said for kind, said in MEANINGS if isinstance(error, kind)))


def _of_handler(error: HTTPException) -> ApiError:
    """The error that a handler raised as Starlette's own."""
    kind = TYPES.get(error.status_code) or type(error).__name__
    failure = ApiError(error.status_code, str(error.detail), kind=kind, reason="route")
    failure.further_headers = dict(error.headers or {})
    return failure


def _public(message: str, served: "ServedModel | None") -> str:
    loaded = "" if served is None else served.llm.model_config.model
    return message if served is None or os.sep not in loaded else message.replace(loaded, served.name)


def answer(error: ApiError) -> Response:
    """The answer that clients of OpenAI, Cohere, Jina and their like can read."""
    body: dict[str, Any] = {
        "error": {"message": error.message, "type": error.kind, "param": error.parameter, "code": error.status},
        "detail": error.detail or error.message,
        "message": error.message,
    }
    return Response(
        orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS),
        status_code=error.status,
        headers=error.headers,
        media_type="application/json",
    )


def shown(value: object) -> str:
    """Return a short ``repr`` of a value."""
    return shortened(_short.repr(value), LONGEST_VALUE)


def shortened(text: str, most: int = LONGEST_MESSAGE) -> str:
    """Return the beginning of a text, with dots where something was left out."""
    return text if len(text) <= most else f"{text[:most]}..."


def given(body: object) -> frozenset[str]:
    """The names of a body's fields, without those that are null."""
    return (
        frozenset(name for name, value in body.items() if value is not None) if isinstance(body, dict) else frozenset()
    )


def field_of(parameter: str | None, fields: Collection[str]) -> str | None:
    """The field that an argument came from; the argument's own name where the body has none of those."""
    return next((name for name in FIELDS.get(parameter, ()) if name in fields), parameter)
