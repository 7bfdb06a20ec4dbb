"""``POST /tokenize`` and ``POST /decode`` of text-embeddings-inference."""

from functools import partial
from typing import Any

from millpond import AsyncLLM
from millpond_server.apis.common.tokenizing import aside, check_count, check_size
from millpond_server.apis.tei import errors as tei_errors
from millpond_server.apis.tei.errors import check_inputs
from millpond_server.apis.tei.schemas import TeiDecodeRequest, TeiTokenizeRequest
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError

ERRORS = tei_errors.ERRORS
render_error = tei_errors.render_error


async def tokenize(request: TeiTokenizeRequest, llm: AsyncLLM, call: Call) -> list[list[dict[str, Any]]]:
    """The tokens of texts, with their places in them."""
    check_inputs(request.inputs)
    tokenizer = llm.pipeline.ctx.tokenizer
    if tokenizer is None:
        raise ApiError(400, f"the model {llm.model_config.model!r} has no tokenizer", reason="unsupported")
    texts = [request.inputs] if isinstance(request.inputs, str) else request.inputs
    check_size(texts, call.settings.limits, "inputs")
    prefix = _prompt_of(request, llm)

    def work() -> list[list[dict[str, Any]]]:
        prefixed = [prefix + text for text in texts]
        encoded = tokenizer.backend.encode_batch(prefixed, add_special_tokens=request.add_special_tokens)
        return [_tokens_of(encoding, text) for encoding, text in zip(encoded, prefixed, strict=True)]

    return await aside(work)


def _prompt_of(request: TeiTokenizeRequest, llm: AsyncLLM) -> str:
    """The model's prompt that the body names.

    Raises:
        ApiError: 400 if the model has no prompt of that name.
    """
    prompts = llm.model_config.prompts
    if not request.prompt_name:
        return ""
    if request.prompt_name not in prompts:
        there = ", ".join(map(repr, prompts)) or "none"
        message = f"prompt_name={request.prompt_name!r}: the model has no prompt of that name; there are: {there}"
        raise ApiError(400, message, parameter="prompt_name", reason="invalid")
    return prompts[request.prompt_name]


def _tokens_of(encoding: Any, text: str) -> list[dict[str, Any]]:
    """The tokens with the letters of the text that each stands for; special ones with their names, and no place."""
    return [
        {
            "id": token,
            "text": name if special else text[start:stop],
            "special": bool(special),
            "start": None if special else start,
            "stop": None if special else stop,
        }
        for token, name, special, (start, stop) in zip(
            encoding.ids, encoding.tokens, encoding.special_tokens_mask, encoding.offsets, strict=True
        )
    ]


async def decode(request: TeiDecodeRequest, llm: AsyncLLM, call: Call) -> list[str]:
    """The texts of token ids."""
    tokenizer = llm.pipeline.ctx.tokenizer
    if tokenizer is None:
        raise ApiError(400, f"the model {llm.model_config.model!r} has no tokenizer", reason="unsupported")
    size = tokenizer.backend.get_vocab_size(with_added_tokens=True)
    rows: list[Any] = list(request.ids) if request.ids and isinstance(request.ids[0], list) else [request.ids]
    check_count(sum(map(len, rows)), call.settings.limits, "ids")
    unknown = next((token for row in rows for token in row if not 0 <= token < size), None)
    if unknown is not None:
        raise ApiError(400, f"token id {unknown} is not in the vocabulary: ids go from 0 to {size - 1}")
    decode = partial(tokenizer.decode, skip_special_tokens=request.skip_special_tokens)
    return await aside(lambda: [decode(row) for row in rows])
