"""``POST /tokenize`` and ``POST /detokenize``: what a model's tokenizer makes of text, and of ids."""

from typing import Any

from millpond import AsyncLLM
from millpond.loading.tokenizer import Tokenizer
from millpond_server.call import Call
from millpond_server.errors import ApiError
from millpond_server.protocol.tokens import DetokenizeRequest, TokenizeRequest
from millpond_server.tokenising import aside, check_count, check_size


async def tokenize(request: TokenizeRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """The tokens of a text, also of one that is longer than the model reads."""
    tokenizer = _tokenizer(llm)
    check_size([request.prompt], call.settings.limits, "prompt")

    def work() -> tuple[list[int], list[str | None] | None]:
        (encoding,) = tokenizer.encode_batch([request.prompt], add_special_tokens=request.add_special_tokens)
        ids = encoding.ids
        return ids, [tokenizer.backend.id_to_token(token) for token in ids] if request.return_token_strs else None

    ids, strings = await aside(work)
    return {
        "count": len(ids),
        "max_model_len": llm.model_config.max_model_len,
        "tokens": ids,
        "token_strs": strings,
    }


async def detokenize(request: DetokenizeRequest, llm: AsyncLLM, call: Call) -> dict[str, str]:
    """The text of tokens."""
    tokenizer = _tokenizer(llm)
    check_count(len(request.tokens), call.settings.limits, "tokens")
    size = tokenizer.backend.get_vocab_size(with_added_tokens=True)
    unknown = next((token for token in request.tokens if token >= size), None)
    if unknown is not None:
        message = f"token id {unknown} is not in the vocabulary: ids go from 0 to {size - 1}"
        raise ApiError(400, message, parameter="tokens", reason="invalid")
    return {"prompt": await aside(tokenizer.decode, request.tokens)}


def _tokenizer(llm: AsyncLLM) -> Tokenizer:
    tokenizer = llm.pipeline.ctx.tokenizer
    if tokenizer is None:
        message = f"the model {llm.model_config.model!r} has no tokenizer"
        raise ApiError(501, message, reason="unsupported")
    return tokenizer
