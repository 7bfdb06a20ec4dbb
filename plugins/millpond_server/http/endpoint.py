"""Endpoint: a route's record as an ASGI application: body in, handler, answer out; errors become answers."""

import asyncio
import inspect
import logging
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from millpond.plugin.blame import is_foreign
from millpond.plugin.registry import Entry
from millpond.plugin.specs import RouteSpec
from millpond_server.http import errors
from millpond_server.http.body import (
    BodyReader,
    ClientGoneError,
    check_media_type,
    parse_json,
    read_body,
    unread,
    validate,
)
from millpond_server.http.call import Call, new_id
from millpond_server.http.errors import ApiError, as_api_error, given, shown
from millpond_server.http.json_stream import json_response
from millpond_server.runtime.admission import admit, is_bulk
from millpond_server.runtime.state import State

logger = logging.getLogger(__name__)
SERVER_FAULT = 500
HAVE_BODIES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
BODIES = ("json", "bytes", "request")
IGNORED = "x-millpond-ignored"  # tells of the fields of a body that nobody reads
CLOSES = frozenset({"body", "slow_body", "intake"})  # reasons to refuse a body before it has arrived
MOST_DIGITS = 10  # of a number of milliseconds: some months
MILLISECONDS = re.compile(rf"[0-9]{{1,{MOST_DIGITS}}}")
WITH_CALL = 3  # parameters of a handler that wants to know of the call beside the body and the model


class Endpoint:
    """One route: reads and validates the body, finds the model, runs the handler, writes what it returns.

    A handler returns a Starlette response, a pydantic model, or what orjson can write, arrays included. It is
    cancelled when its client goes away, or its deadline passes.
    """

    def __init__(self, entry: Entry[RouteSpec], state: State) -> None:
        self.entry = entry
        self.method, _, self.path = entry.spec.name.partition(" ")
        if entry.spec.body not in BODIES:
            message = f"the route {entry.qualified}: body={entry.spec.body!r}: expected one of {', '.join(BODIES)}"
            raise ValueError(message)
        self.handler: Callable[..., Awaitable[Any]] = entry.load()
        if is_foreign(entry) and not _is_async(self.handler):
            logger.warning("%s: its target is not an async function", entry.label)
        self.wants_call = len(inspect.signature(self.handler).parameters) >= WITH_CALL
        self.request = None if entry.spec.request is None else entry.load("request")
        self.render: Callable[[ApiError], Response] = getattr(
            inspect.getmodule(self.handler), "render_error", errors.answer
        )
        self.state = state
        self.models = state.models
        self.settings = state.settings
        self.intake = state.intake

    @property
    def name(self) -> str:
        """The route in messages; of a plugin that is not built in with its plugin."""
        name = self.entry.spec.name
        return f"route {name!r} of plugin {self.entry.origin.plugin}" if is_foreign(self.entry) else name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; see the class."""
        scope["millpond.route"] = self.path
        try:
            response = await self._answer(scope, receive)
        except ClientGoneError:
            scope["millpond.reason"] = "gone"
            return
        except Exception as error:  # noqa: BLE001  the client gets an answer and the server goes on
            response = self._failed(scope, error)
        finally:
            self.intake.let_go(scope)
        body = scope.pop("millpond.body", None)  # it may be large, and the answer be read slowly
        if type(response) is Response:
            await response(scope, receive, send)
            return
        scope["millpond.fields"] = given(body)
        failed = partial(self._failed, scope)
        await send_stream(response, scope, receive, send, name=self.name, failed=failed)

    def _failed(self, scope: Scope, error: Exception) -> Response:
        """The answer to an error, which is logged where it is the server's fault."""
        call = scope.get("millpond.call")
        served = None if call is None else call.served
        failure = as_api_error(
            error,
            overload_status=self.settings.overload_status,
            served=served,
            fields=scope.get("millpond.fields") or given(scope.get("millpond.body")),
        )
        if failure.reason == "internal" and is_foreign(self.entry):
            failure.message = f"{self.name} failed on this request"
        # Others, such as overload, are no surprise, and come in crowds.
        if failure.status == SERVER_FAULT and failure.reason != "blocked":
            logger.error("%s failed", self.name, exc_info=error)
        scope["millpond.reason"] = failure.reason
        response = (failure.render or self.render)(failure)
        if failure.reason in CLOSES:
            response.headers["connection"] = "close"
        return response

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request: Any = None
        named: object = None
        ignored: tuple[str, ...] = ()
        value: Any = None
        size = 0
        watching = receive
        if self.entry.spec.body == "request":
            reader = BodyReader(scope, receive, self.settings.limits, self.intake)
            request, watching = Request(scope, reader.receive), reader.after_body
        elif self.method in HAVE_BODIES:
            body = await read_body(scope, receive, self.settings.limits, self.intake)
            size = len(body)
            self.intake.keep(scope, size, self.settings.limits)
            if self.entry.spec.body == "bytes":
                request = bytes(body)
            else:
                value, request, named, ignored = self._validated(scope, headers, body)
                scope["millpond.body"] = value
            del body  # it may be large, and the request may wait
        served = self.models.get(named)
        call = Call(
            request_id=scope.get("millpond.request_id") or new_id(),
            headers=headers,
            path_values=dict(scope.get("path_params", {})),
            models=self.models,
            served=served,
            settings=self.settings,
            state=self.state,
            ignored=ignored,
            bulk=is_bulk(headers, value, size, served, self.entry.spec.tasks),
            query_string=scope["query_string"],
        )
        call.take_id(request)
        scope["millpond.call"] = call
        seconds = self._deadline(headers)
        call.on_model = partial(self._admit, scope, seconds)
        if self.entry.spec.model_field is not None:
            self._admit(scope, seconds, call)
        made = self.handler(request, served.llm, call) if self.wants_call else self.handler(request, served.llm)
        if not inspect.isawaitable(made):
            raise ApiError(500, f"{self.name} broke its contract: its target must be an async function")
        response = await as_response(await watched(made, watching, seconds=seconds))
        if ignored:
            response.headers[IGNORED] = ", ".join(ignored)
        return response

    def _admit(self, scope: Scope, seconds: float | None, call: Call) -> None:
        """Note which model a request is for, and refuse it where that takes nothing at present."""
        scope["millpond.model"] = call.served.name
        if self.entry.spec.tasks:
            admit(call, seconds=seconds)

    def _validated(
        self, scope: Scope, headers: dict[str, str], body: bytes | bytearray
    ) -> tuple[Any, Any, object, tuple[str, ...]]:
        """The body, the request that it is, the model that it names, and the fields that nobody reads."""
        if self.request is None and not body:
            return None, None, None, ()
        check_media_type(headers)
        value = parse_json(body, self.settings.limits)
        self.state.token_ids.check(value, scope)
        request = value if self.request is None else validate(self.request, value)
        field = self.entry.spec.model_field
        named = value.get(field) if isinstance(value, dict) and field is not None else None
        return value, request, named, unread(request, value)

    def _deadline(self, headers: dict[str, str]) -> float | None:
        stated = headers.get("x-request-timeout-ms")
        if stated is None:
            return self.settings.limits.request_seconds
        if MILLISECONDS.fullmatch(stated) is None or int(stated) < 1:
            message = (
                f"x-request-timeout-ms: {shown(stated)} is not a number of milliseconds of at most {MOST_DIGITS} digits"
            )
            raise ApiError(400, message, parameter="headers", reason="invalid")
        return int(stated) / 1000


def _is_async(handler: object) -> bool:
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004


async def as_response(result: Any) -> Response:
    """What a handler returned as an answer."""
    if isinstance(result, Response):
        return result
    if isinstance(result, BaseModel):
        result = result.model_dump(exclude_none=False)
    return await json_response(result)


async def watched(made: Awaitable[Any], receive: Receive, *, seconds: float | None) -> Any:
    """The result of a handler, which is cancelled when its client goes away or its time is over.

    Raises:
        ClientGoneError: If the client goes away.
        TimeoutError: If its time is over.
    """
    task, left = asyncio.current_task(), False

    async def leave() -> None:
        nonlocal left
        while (await receive())["type"] != "http.disconnect":
            pass
        left = True
        if task is not None:
            task.cancel()

    leaving = asyncio.ensure_future(leave())
    try:
        async with asyncio.timeout(seconds):
            return await made
    except asyncio.CancelledError:
        if task is None or not left or task.uncancel():
            raise  # the server wants it to end
        raise ClientGoneError from None
    finally:
        leaving.cancel()


async def send_stream(
    response: Response,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    name: str,
    failed: Callable[[Exception], Response],
) -> None:
    """Send an answer that is a stream or a file.

    Args:
        response: The answer.
        scope: The request.
        receive: As ASGI has it.
        send: As ASGI has it.
        name: The route in messages.
        failed: Makes the answer to an error that comes before anything was sent.
    """
    has_begun = False

    async def sending(message: Message) -> None:
        nonlocal has_begun
        has_begun = True
        await send(message)

    try:
        await response(scope, receive, sending)
    except ClientDisconnect:
        scope["millpond.reason"] = "gone"
    except Exception as error:
        if not has_begun:
            await failed(error)(scope, receive, send)
            return
        scope["millpond.reason"] = "stream"
        logger.exception("%s failed after its answer had begun: the connection is cut", name)
