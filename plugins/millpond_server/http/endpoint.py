"""Endpoint: serves a route as an ASGI application, from the request's body to the response or error."""

import asyncio
import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from millpond.plugin.blame import is_foreign
from millpond.plugin.registry import Entry
from millpond.types.errors import SpaceMismatchError
from millpond.types.space import Space
from millpond_http.kinds import RouteSpec
from millpond_server.http import errors
from millpond_server.http.body import (
    BodyReader,
    ClientGoneError,
    check_encoding,
    check_media_type,
    ignored_fields,
    parse_json,
    read_body,
    validate,
)
from millpond_server.http.call import OWNER, Call, new_id
from millpond_server.http.errors import ApiError, as_api_error, field_names, short_repr
from millpond_server.http.json_stream import json_response
from millpond_server.runtime.admission import admit, is_batch_request
from millpond_server.runtime.state import State

logger = logging.getLogger(__name__)
INTERNAL_ERROR = 500
METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})
BODY_TYPES = ("json", "bytes", "request", "upload")
IGNORED_HEADER = "x-millpond-ignored"  # lists the fields of the body without effect
SPACE_HEADER, EXPECTED_SPACE_HEADER = "x-millpond-space", "x-millpond-expect-space"
UNREAD_BODY_REASONS = frozenset({"body", "slow_body", "intake"})  # errors before the body has arrived completely
MAX_TIMEOUT_DIGITS = 10  # of a number of milliseconds: some months
MILLISECONDS = re.compile(rf"[0-9]{{1,{MAX_TIMEOUT_DIGITS}}}")
NUM_PARAMETERS_WITH_CALL = 3  # a handler with this many parameters takes the body, the model and the call


class Endpoint:
    """One route: reads and validates the body, finds the model, runs the handler, and sends its result.

    A handler returns a Starlette response, a pydantic model, or a value that orjson can serialize, arrays included. It
    is cancelled when its client disconnects or its timeout is over.
    """

    def __init__(self, entry: Entry[RouteSpec], state: State) -> None:
        self.entry = entry
        self.spec = entry.spec
        self.method, _, self.path = self.spec.name.partition(" ")
        if self.spec.body not in BODY_TYPES:
            message = f"the route {entry.qualified}: body={self.spec.body!r}: expected one of {', '.join(BODY_TYPES)}"
            raise ValueError(message)
        self.handler: Callable[..., Awaitable[Any]] = entry.load()
        self.is_foreign = is_foreign(entry)
        if self.is_foreign and not _is_async(self.handler):
            logger.warning("%s: its target is not an async function", entry.label)
        self.takes_call = len(inspect.signature(self.handler).parameters) >= NUM_PARAMETERS_WITH_CALL
        self.request_model: type[BaseModel] | None = None if self.spec.request is None else entry.load("request")
        self.render: Callable[[ApiError], Response] = getattr(
            inspect.getmodule(self.handler), "render_error", errors.error_response
        )
        self.state = state
        self.models = state.models
        self.settings = state.settings

    @property
    def name(self) -> str:
        """The name of the route in messages, with the plugin if it is a third-party plugin."""
        return f"route {self.spec.name!r} of plugin {self.entry.origin.plugin}" if self.is_foreign else self.spec.name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        scope["millpond.route"] = self.path
        try:
            response = await self._respond(scope, receive)
        except ClientGoneError:
            scope["millpond.reason"] = "gone"
            return
        except BaseException as error:  # the client gets an error response, and the server goes on
            if not (isinstance(error, Exception) or (self.is_foreign and _is_raised_by_handler(error))):
                raise
            response = self._error_response(scope, error)
        finally:
            self.state.body_memory.release(scope)
        body = scope.pop("millpond.body", None)  # released here, because sending a response may take long
        if type(response) is Response:
            await response(scope, receive, send)
            return
        scope["millpond.fields"] = field_names(body)
        error_response = partial(self._error_response, scope)
        await send_stream(response, scope, receive, send, name=self.name, error_response=error_response)

    def _error_response(self, scope: Scope, error: BaseException) -> Response:
        """Return the response for an error; log errors of the server."""
        call = scope.get("millpond.call")
        served = None if call is None else call.served
        api_error = as_api_error(
            error,
            overload_status=self.settings.overload_status,
            served=served,
            fields=scope.get("millpond.fields") or field_names(scope.get("millpond.body")),
        )
        if api_error.reason == "internal" and self.is_foreign:
            api_error.message = f"{self.name} failed on this request"
        # Other statuses, such as overload, are expected and frequent.
        if api_error.status == INTERNAL_ERROR and api_error.reason != "blocked":
            logger.error("%s failed", self.name, exc_info=error)
        scope["millpond.reason"] = api_error.reason
        response = (api_error.render or self.render)(api_error)
        if api_error.reason in UNREAD_BODY_REASONS:
            response.headers["connection"] = "close"
        return response

    async def _respond(self, scope: Scope, receive: Receive) -> Response:
        limits = self.settings.limits
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request: Any = None
        model_name: object = None
        ignored: tuple[str, ...] = ()
        value: Any = None
        size = 0
        receive_after_body = receive
        if self.spec.body in ("request", "upload"):
            reader = self._body_reader(scope, receive)
            request, receive_after_body = Request(scope, reader.receive), reader.after_body
        elif self.method in METHODS_WITH_BODY:
            body = await read_body(scope, receive, limits, self.state.body_memory)
            size = len(body)
            if self.spec.body == "bytes":
                request = bytes(body)
            else:
                value, request, model_name, ignored = self._parse(scope, headers, body)
                scope["millpond.body"] = value
            del body  # it may be large, and the request may wait
        served = self.models.get(model_name)
        call = Call(
            request_id=scope.get("millpond.request_id") or new_id(),
            headers=headers,
            path_values=dict(scope.get("path_params", {})),
            models=self.models,
            served=served,
            settings=self.settings,
            state=self.state,
            ignored=ignored,
            priority=1 if is_batch_request(headers, value, size, served, self.spec.tasks) else 0,
            query_string=scope["query_string"],
            owner=scope.get(OWNER, ""),
        )
        call.take_id(request)
        scope["millpond.call"] = call
        timeout = self._timeout(headers)
        call.on_model = partial(self._admit, scope, timeout)
        if self.spec.model_field is not None:
            self._admit(scope, timeout, call)
        space = await self._space(request, call)
        arguments = (request, served.llm, call) if self.takes_call else (request, served.llm)
        running = self.handler(*arguments)
        if not inspect.isawaitable(running):
            raise ApiError(500, f"{self.name} broke its contract: its target must be an async function")
        response = await as_response(await run_until_disconnect(running, receive_after_body, timeout=timeout))
        if ignored:
            response.headers[IGNORED_HEADER] = ", ".join(ignored)
        if space is not None:
            response.headers[SPACE_HEADER] = space.id
        return response

    async def _space(self, request: Any, call: Call) -> Space | None:
        """Return the space of a request's embeddings; None for a route without embeddings.

        Raises:
            SpaceMismatchError: If the request expects another space, in its body or a header.
        """
        options: Mapping[str, Any] | None = getattr(request, "space_options", None)
        stated = getattr(request, "expect_space", None)
        if isinstance(request, dict) and "expect_space" in request:  # a route that reads bodies of several routes
            dimensions = request.get("dimensions")  # not validated yet
            stated, options = request["expect_space"], {"dimensions": dimensions if type(dimensions) is int else None}
        expected = call.headers.get(EXPECTED_SPACE_HEADER) if stated is None else stated
        if expected is None and options is None:
            return None
        space = await call.served.space()
        if space is not None and options is not None:
            space = space.of_call(**options)
        if expected is not None:
            if space is None:
                message = f"expect_space: the model {call.served.name!r} has no embeddings, or its files have changed"
                raise SpaceMismatchError(message, parameter="expect_space")
            space.require(expected)
        return None if options is None else space

    def _body_reader(self, scope: Scope, receive: Receive) -> BodyReader:
        limits = self.settings.limits
        if self.spec.body == "upload":
            return BodyReader(scope, receive, replace(limits, body_bytes=self.settings.max_upload_bytes), None)
        return BodyReader(scope, receive, limits, self.state.body_memory)

    def _admit(self, scope: Scope, timeout: float | None, call: Call) -> None:
        """Record the model of a request, and refuse the request if the model cannot accept it at present."""
        scope["millpond.model"] = call.served.name
        if self.spec.tasks:
            admit(call, timeout=timeout)

    def _parse(
        self, scope: Scope, headers: dict[str, str], body: bytes | bytearray
    ) -> tuple[Any, Any, object, tuple[str, ...]]:
        """Return the JSON value of a body, the validated request, the model's name, and the ignored fields."""
        if self.request_model is None and not body:
            return None, None, None, ()
        check_media_type(headers)
        check_encoding(headers)
        value = parse_json(body, self.settings.limits)
        self.state.token_ids.check(value, scope)
        request = value if self.request_model is None else validate(self.request_model, value)
        field = self.spec.model_field
        model_name = value.get(field) if isinstance(value, dict) and field is not None else None
        return value, request, model_name, ignored_fields(request, value)

    def _timeout(self, headers: dict[str, str]) -> float | None:
        """Return the maximum duration of a request in seconds; None for no limit."""
        value = headers.get("x-request-timeout-ms")
        if value is None:
            return self.settings.limits.request_seconds
        if MILLISECONDS.fullmatch(value) is None or int(value) < 1:
            message = (
                f"x-request-timeout-ms: {short_repr(value)} is not a number of milliseconds of at most "
                f"{MAX_TIMEOUT_DIGITS} digits"
            )
            raise ApiError(400, message, parameter="headers", reason="invalid")
        return int(value) / 1000


def _is_async(handler: object) -> bool:
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004


async def as_response(result: Any) -> Response:
    """Return the result of a handler as a response."""
    if isinstance(result, Response):
        return result
    if isinstance(result, BaseModel):
        result = result.model_dump(exclude_none=False)
    return await json_response(result)


async def run_until_disconnect(running: Awaitable[Any], receive: Receive, *, timeout: float | None) -> Any:  # noqa: ASYNC109
    """Return the result of a handler; cancel it if the client disconnects or the timeout is over.

    Raises:
        ClientGoneError: If the client disconnects.
        TimeoutError: If the timeout is over.
    """
    task, is_gone = asyncio.current_task(), False

    async def cancel_on_disconnect() -> None:
        nonlocal is_gone
        while (await receive())["type"] != "http.disconnect":
            pass
        is_gone = True
        if task is not None:
            task.cancel()

    watching = asyncio.ensure_future(cancel_on_disconnect())
    try:
        async with asyncio.timeout(timeout):
            return await running
    except asyncio.CancelledError:
        if task is None or not is_gone or task.uncancel():
            raise  # cancelled by the server
        raise ClientGoneError from None
    finally:
        watching.cancel()


def _is_raised_by_handler(error: BaseException) -> bool:
    """Return True for an exception such as SystemExit, unless it cancels or closes the task of the request."""
    task = asyncio.current_task()
    return not isinstance(error, GeneratorExit) and (task is None or not task.cancelling())


async def send_stream(
    response: Response,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    name: str,
    error_response: Callable[[Exception], Response],
) -> None:
    """Send a response that is a stream or a file.

    Args:
        response: The response.
        scope: The ASGI scope of the request.
        receive: The ASGI receive callable.
        send: The ASGI send callable.
        name: The name of the route in messages.
        error_response: Returns the response for an error that occurs before anything is sent.
    """
    has_started = False

    async def send_and_note_start(message: Message) -> None:
        nonlocal has_started
        has_started = True
        await send(message)

    try:
        await response(scope, receive, send_and_note_start)
    except ClientDisconnect:
        scope["millpond.reason"] = "gone"
    except Exception as error:
        if not has_started:
            await error_response(error)(scope, receive, send)
            return
        scope["millpond.reason"] = "stream"
        logger.exception("%s failed after the start of its response: the connection is closed", name)
