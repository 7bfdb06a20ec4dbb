"""Handlers of ``POST /rerank`` and ``POST /tokenize`` at the root, where the fields of a body select the API."""

from typing import Any

from starlette.responses import Response

from millpond import AsyncLLM
from millpond_server.apis.tei import routes as tei
from millpond_server.apis.tei.errors import render_error as render_tei_error
from millpond_server.apis.tei.errors import tei_errors
from millpond_server.apis.tei.schemas import AnyRerankRequest, AnyTokenizeRequest, TeiRerankRequest, TeiTokenizeRequest
from millpond_server.apis.vllm import routes as vllm
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError, error_response

ERRORS = ("Error", "TeiError")  # the schemas of error bodies in the OpenAPI description
TEI_BODIES = ("texts", "inputs")  # the tags of text-embeddings-inference's bodies in schemas.py


def render_error(error: ApiError) -> Response:
    """Return a validation error in the format of the body's API."""
    return (render_tei_error if error.variant in TEI_BODIES else error_response)(error)


async def rerank(request: AnyRerankRequest, llm: AsyncLLM, call: Call) -> Any:
    """Return the ranking in the format of the body's API: with ``texts``, text-embeddings-inference."""
    body = request.root
    if not isinstance(body, TeiRerankRequest):
        if "score" not in call.models.tasks:  # vLLM's route is not mounted without such a model
            raise ApiError(404, "Not Found", kind="NotFoundError", reason="not_found")
        call.take_id(body)
        return await vllm.rerank(body, llm, call)
    with tei_errors(call):
        return await tei.rerank(body, llm, call)


async def tokenize(request: AnyTokenizeRequest, llm: AsyncLLM, call: Call) -> Any:
    """Return the tokens in the format of the body's API: with ``inputs``, text-embeddings-inference."""
    body = request.root
    if not isinstance(body, TeiTokenizeRequest):
        return await vllm.tokenize(body, llm, call)
    with tei_errors(call):
        return await tei.tokenize(body, llm, call)
