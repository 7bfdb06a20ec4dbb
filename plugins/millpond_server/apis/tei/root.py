"""``POST /rerank`` and ``POST /tokenize`` at the root: the fields of a body tell whose dialect it is."""

from typing import Any

from starlette.responses import Response

from millpond import AsyncLLM
from millpond_server.apis.tei import errors as tei_errors
from millpond_server.apis.tei import routes as tei
from millpond_server.apis.tei.schemas import AnyRerankRequest, AnyTokenizeRequest, TeiRerankRequest, TeiTokenizeRequest
from millpond_server.apis.vllm import routes as vllm
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError

ERRORS = ("Error", "TeiError")  # by their names in the description of the routes
TEI_FIELDS = ("body.texts", "body.inputs")  # the beginnings of places in bodies of text-embeddings-inference


def render_error(error: ApiError) -> Response:
    """Write a validation error in the format of the body's dialect."""
    return tei_errors.render_of(TEI_FIELDS, error)


async def rerank(request: AnyRerankRequest, llm: AsyncLLM, call: Call) -> Any:
    """The ranking in the format of the body's dialect: with ``texts`` that of text-embeddings-inference."""
    body = request.root
    if not isinstance(body, TeiRerankRequest):
        if "score" not in call.models.tasks:  # as if the route were not there, which it is for the other dialect
            raise ApiError(404, "Not Found", kind="NotFoundError", reason="not_found")
        call.take_id(body)
        return await vllm.rerank(body, llm, call)
    with tei_errors.own_errors(call):
        return await tei.rerank(body, llm, call)


async def tokenize(request: AnyTokenizeRequest, llm: AsyncLLM, call: Call) -> Any:
    """The tokens in the format of the body's dialect: with ``inputs`` that of text-embeddings-inference."""
    body = request.root
    if not isinstance(body, TeiTokenizeRequest):
        return await vllm.tokenize(body, llm, call)
    with tei_errors.own_errors(call):
        return await tei.tokenize(body, llm, call)
