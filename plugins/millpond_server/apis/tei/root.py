"""``POST /rerank`` at the root: told apart by its body, ``documents`` or ``texts``."""

from typing import Any

from starlette.responses import Response

from millpond import AsyncLLM
from millpond_server.apis.tei import errors as tei_errors
from millpond_server.apis.tei import routes as tei
from millpond_server.apis.tei.schemas import AnyRerankRequest, TeiRerankRequest
from millpond_server.apis.vllm import routes as scoring
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError

ERRORS = ("Error", "TeiError")  # by their names in the description of the routes


def render_error(error: ApiError) -> Response:
    """What does not fit, in the words of whoever asks."""
    return tei_errors.render_of("texts", error)


async def rerank(request: AnyRerankRequest, llm: AsyncLLM, call: Call) -> Any:
    """The answer in the words of whoever asks."""
    body = request.root
    if not isinstance(body, TeiRerankRequest):
        if "score" not in call.models.tasks:  # as if the route were not there, which it is for the other dialect
            raise ApiError(404, "Not Found", kind="NotFoundError", reason="not_found")
        call.take_id(body)
        return await scoring.rerank(body, llm, call)
    with tei_errors.own_errors(call):
        return await tei.rerank(body, llm, call)
