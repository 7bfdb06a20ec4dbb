"""The inputs of a body as prompts: how many there may be, and of which forms; what they hold the model checks."""

from typing import Any

from millpond import AsyncLLM
from millpond_server.errors import ApiError
from millpond_server.settings import Limits


def read_inputs(given: Any, limits: Limits, llm: AsyncLLM, *, parameter: str = "input") -> list[Any]:
    """Texts and token ids as a list of prompts.

    Args:
        given: A text, a list of texts, the token ids of one text, or a list of such lists; items may be objects that
            hold a ``text``.
        limits: How much a request may hold.
        llm: The model that they are for.
        parameter: The name of the field.

    Raises:
        ApiError: 400 for another form, 413 for too many.
    """
    items = [given] if isinstance(given, str) or (isinstance(given, list) and _is_ids(given)) else given
    if not isinstance(items, list):
        message = f"{parameter} must be a text, a list of texts, a list of token ids or a list of such lists"
        raise ApiError(400, message, parameter=parameter, reason="invalid")
    if not items:
        raise ApiError(400, "You must pass at least one prompt", parameter=parameter, reason="invalid")
    if len(items) > limits.inputs:
        message = f"{parameter} holds {len(items)} items; the list length is limited to {limits.inputs}"
        raise ApiError(413, message, parameter=parameter, reason="inputs")
    prompts = [_prompt(item, place, parameter) for place, item in enumerate(items)]
    _check_tokens(prompts, limits, llm, parameter)
    return prompts


def _is_ids(items: list[Any]) -> bool:
    return bool(items) and isinstance(items[0], int)


def _prompt(item: Any, place: int, parameter: str) -> Any:
    if isinstance(item, dict) and isinstance(item.get("text"), str):
        return item["text"]
    if isinstance(item, str):
        return item
    if isinstance(item, list):
        return {"prompt_token_ids": item}
    message = f"{parameter}[{place}] must be a text or a list of token ids; got {type(item).__name__}"
    raise ApiError(400, message, parameter=parameter, reason="invalid")


def _check_tokens(prompts: list[Any], limits: Limits, llm: AsyncLLM, parameter: str) -> None:
    """Refuse what is sure to be over the limit of tokens, before any of it is tokenised."""
    # A token stands for at least a character's part; what a tokenizer makes of text is counted by the model.
    least = sum(len(p["prompt_token_ids"]) if isinstance(p, dict) else 1 for p in prompts)
    longest = limits.tokens * 64
    characters = sum(len(p) for p in prompts if isinstance(p, str))
    if least > limits.tokens or characters > longest:
        message = (
            f"{parameter} holds {least} tokens or {characters} characters; a request may hold {limits.tokens} tokens "
            f"for {llm.model_config.model}"
        )
        raise ApiError(413, message, parameter=parameter, reason="tokens")
