"""``POST /tokenize`` at the root: told apart by its body, ``prompt`` or ``inputs``."""

from typing import Any

from starlette.responses import Response

from millpond import AsyncLLM
from millpond_server.apis.tei import errors as tei_errors
from millpond_server.apis.tei import tokens as tei_tokens
from millpond_server.apis.tei.any_tokenize_schemas import AnyTokenizeRequest
from millpond_server.apis.tei.schemas import TeiTokenizeRequest
from millpond_server.apis.vllm import tokens
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError

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
