"""Run the requests of a file without a server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import orjson
from starlette.types import ASGIApp

from millpond.types.errors import EngineClosedError
from millpond_server.batches.dispatch import send
from millpond_server.batches.lines import Line
from millpond_server.batches.records import answer_record, error_record, request_id

NAME = "batch_offline"


async def run_requests(
    app: ASGIApp, lines: Iterator[Line], *, concurrency: int, crash_reason: Callable[[], str]
) -> AsyncIterator[tuple[bytes, bool]]:
    """Yield the record of each line as JSON, and True if it is an error, in the order of the lines.

    Args:
        app: The application, without middleware.
        lines: The requests.
        concurrency: The number of requests that run at the same time.
        crash_reason: Returns the reason for a crash of the engine; empty while it runs.

    Raises:
        EngineClosedError: If the engine crashed.
    """
    running: list[asyncio.Task[tuple[dict[str, Any], bool]]] = []
    try:
        for line in lines:
            running.append(asyncio.ensure_future(_run(app, line, crash_reason)))
            if len(running) >= concurrency:
                yield _as_json(await running.pop(0))
        while running:
            yield _as_json(await running.pop(0))
    finally:
        for task in running:
            task.cancel()


async def _run(app: ASGIApp, line: Line, crash_reason: Callable[[], str]) -> tuple[dict[str, Any], bool]:
    if line.error is not None:
        return error_record(NAME, line, "invalid_line", line.error), True
    answer = await send(app, line.url, line.body, request_id(NAME, line), must_stop=lambda: bool(crash_reason()))
    if answer is None:
        message = f"the engine crashed: {crash_reason()}"
        raise EngineClosedError(message)
    return answer_record(NAME, line, answer)


def _as_json(result: tuple[dict[str, Any], bool]) -> tuple[bytes, bool]:
    record, is_error = result
    return orjson.dumps(record), is_error
