"""``POST /rerank`` at the root: told apart by its body, ``documents`` or ``texts``."""

from typing import Any

from millpond import AsyncLLM
from millpond_server.call import Call
from millpond_server.errors import as_api_error
from millpond_server.protocol.tei import AnyRerankRequest, TeiRerankRequest
from millpond_server.routes import scoring, tei


async def rerank(request: AnyRerankRequest, llm: AsyncLLM, call: Call) -> Any:
    """The answer in the words of whoever asks."""
    body = request.root
    if not isinstance(body, TeiRerankRequest):
        return await scoring.rerank(body, llm, call)
    try:
        return await tei.rerank(body, llm, call)
    except Exception as error:
        failure = as_api_error(error, overload_status=call.settings.overload_status)
        failure.render = tei.render_error
        raise failure from error
