"""``POST /tokenize`` and ``POST /detokenize``: what a model's tokenizer makes of text, and of ids."""

from collections.abc import Iterator
from typing import Any

from millpond import AsyncLLM, PoolingParams
from millpond.loading.tokenizer import Tokenizer
from millpond_server.apis.common.inputs import prompts_of
from millpond_server.apis.common.tokenizing import aside, check_count, check_size
from millpond_server.apis.vllm.token_schemas import DetokenizeRequest, TokenizeRequest
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError

TASKS = ("embed", "token_embed", "classify", "token_classify")  # whose processors write conversations


async def tokenize(request: TokenizeRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """The tokens of a text, also of one that is longer than the model reads; or of a conversation."""
    tokenizer = _tokenizer(llm)
    if request.messages is None:
        ids = await _of_text(request.prompt or "", request, tokenizer, call)
    else:
        ids = await _of_conversation(request, llm, call)
    return {
        "count": len(ids),
        "max_model_len": llm.model_config.max_model_len,
        "tokens": ids,
        "token_strs": await aside(_spelled, tokenizer, ids) if request.return_token_strs else None,
    }


def _spelled(tokenizer: Tokenizer, ids: list[int]) -> list[str | None]:
    """Tokens as the vocabulary spells them."""
    return [tokenizer.backend.id_to_token(token) for token in ids]


async def _of_text(text: str, request: TokenizeRequest, tokenizer: Tokenizer, call: Call) -> list[int]:
    check_size([text], call.settings.limits, "prompt")

    def work() -> list[int]:
        (encoding,) = tokenizer.encode_batch([text], add_special_tokens=request.add_special_tokens is not False)
        return encoding.ids

    return await aside(work)


async def _of_conversation(request: TokenizeRequest, llm: AsyncLLM, call: Call) -> list[int]:
    """The tokens that the model would be given."""
    prompts = prompts_of(request.conversation, call.settings.limits, llm)
    check_size(["".join(map(str, _texts_in(request.messages or [])))], call.settings.limits, "messages")
    pipeline, task = llm.pipeline, next((task for task in TASKS if task in llm.supported_tasks), None)
    params = PoolingParams(prompt="", on_overflow="chunk" if task == TASKS[0] else None)

    def work() -> list[int]:
        processor, items = pipeline.split(prompts, params, task)
        (job,) = pipeline.prepare(processor, [0], items)
        if job.error is not None:
            raise job.error
        first = job.requests[0]
        ids: list[int] = (first.input_ids if first.whole is None else first.whole).tolist()
        return ids

    if len(prompts) != 1:
        raise ApiError(400, "messages must be one conversation", parameter="messages", reason="invalid")
    return await aside(work)


def _texts_in(messages: list[Any]) -> Iterator[Any]:
    """The texts of a conversation."""
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        parts = content if isinstance(content, list) else [content]
        yield from (part.get("text", "") if isinstance(part, dict) else part or "" for part in parts)


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
