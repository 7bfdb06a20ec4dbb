"""``POST /tokenize`` at the root: told apart by its body, ``prompt`` or ``inputs``."""

from typing import Any

from millpond import AsyncLLM
from millpond_server.protocol.any_tokenize import AnyTokenizeRequest
from millpond_server.protocol.tei import TeiTokenizeRequest
from millpond_server.routes import tei, tokens


async def tokenize(request: AnyTokenizeRequest, llm: AsyncLLM) -> Any:
    """The answer in the words of whoever asks."""
    body = request.root
    return await (tei.tokenize(body, llm) if isinstance(body, TeiTokenizeRequest) else tokens.tokenize(body, llm))
