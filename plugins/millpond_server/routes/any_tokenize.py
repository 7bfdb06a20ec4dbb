"""``POST /tokenize`` at the root: told apart by its body, ``prompt`` or ``inputs``."""

from typing import Any

from starlette.responses import Response

from millpond import AsyncLLM
from millpond_server import tei_errors
from millpond_server.call import Call
from millpond_server.errors import ApiError
from millpond_server.protocol.any_tokenize import AnyTokenizeRequest
from millpond_server.protocol.tei import TeiTokenizeRequest
from millpond_server.routes import tei_tokens, tokens

ERRORS = ("Error", "TeiError")  # by their names in the description of the routes


def render_error(error: ApiError) -> Response:
    """What does not fit, in the words of whoever asks."""
    return tei_errors.render_of("inputs", error)


async def tokenize(request: AnyTokenizeRequest, llm: AsyncLLM, call: Call) -> Any:
    """The answer in the words of whoever asks."""
    body = request.root
    if not isinstance(body, TeiTokenizeRequest):
        return await tokens.tokenize(body, llm, call)
    with tei_errors.own_errors(call):
        return await tei_tokens.tokenize(body, llm, call)
