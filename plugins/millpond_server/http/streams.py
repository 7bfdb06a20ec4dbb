"""Sends answers that a handler makes bit by bit; one that fails half way ends its connection, and the log names it."""

import logging
from collections.abc import Callable

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

logger = logging.getLogger(__name__)


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
