"""``POST /tokenize`` and ``POST /detokenize``: what a model's tokenizer makes of text, and of ids."""

import asyncio
from typing import Any

from millpond import AsyncLLM
from millpond.loading.tokenizer import Tokenizer
from millpond_server.errors import ApiError
from millpond_server.protocol.tokens import DetokenizeRequest, TokenizeRequest


async def tokenize(request: TokenizeRequest, llm: AsyncLLM) -> dict[str, Any]:
    """The tokens of a text, however long."""
    tokenizer = _tokenizer(llm)
    (encoding,) = await asyncio.to_thread(
        tokenizer.encode_batch, [request.prompt], add_special_tokens=request.add_special_tokens
    )
    return {
        "count": len(encoding.ids),
        "max_model_len": llm.model_config.max_model_len,
        "tokens": encoding.ids,
        "token_strs": [tokenizer.backend.id_to_token(token) for token in encoding.ids]
        if request.return_token_strs
        else None,
    }


async def detokenize(request: DetokenizeRequest, llm: AsyncLLM) -> dict[str, str]:
    """The text of tokens."""
    tokenizer = _tokenizer(llm)
    size = tokenizer.backend.get_vocab_size(with_added_tokens=True)
    unknown = next((token for token in request.tokens if token >= size), None)
    if unknown is not None:
        message = f"token id {unknown} is not in the vocabulary: ids go from 0 to {size - 1}"
        raise ApiError(400, message, parameter="tokens", reason="invalid")
    return {"prompt": await asyncio.to_thread(tokenizer.decode, request.tokens)}


def _tokenizer(llm: AsyncLLM) -> Tokenizer:
    tokenizer = llm.pipeline.ctx.tokenizer
    if tokenizer is None:
        message = f"the model {llm.model_config.model!r} has no tokenizer"
        raise ApiError(501, message, reason="unsupported")
    return tokenizer
