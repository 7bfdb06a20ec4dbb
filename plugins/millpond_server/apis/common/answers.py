"""Answers that several APIs share: a list of items with the model and the tokens that were read."""

from collections.abc import Sequence
from typing import Any

from millpond_server.apis.openai.schemas import usage_of
from millpond_server.http.call import Call


def data_answer(call: Call, prefix: str, data: Sequence[Any], outputs: Sequence[Any]) -> dict[str, Any]:
    """Return an answer with items under ``data``.

    Args:
        call: The call.
        prefix: The beginning of the answer's id.
        data: The items.
        outputs: The outputs that they are made of, which know their number of tokens.
    """
    return {
        "id": call.id(prefix),
        "object": "list",
        "created": call.created,
        "model": call.served.name,
        "data": data,
        "usage": usage_of(num_tokens(outputs)),
    }


def num_tokens(outputs: Sequence[Any]) -> int:
    """Return the number of tokens of all prompts."""
    return sum([output.num_prompt_tokens for output in outputs])
