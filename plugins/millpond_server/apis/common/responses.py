"""Response bodies that several APIs share."""

from collections.abc import Sequence
from typing import Any

from millpond_server.apis.openai.schemas import usage_of
from millpond_server.http.call import Call


def data_response(call: Call, prefix: str, data: Sequence[Any], outputs: Sequence[Any]) -> dict[str, Any]:
    """Return a response body with a list of items under ``data``, the model, and the token usage.

    Args:
        call: The call.
        prefix: The prefix of the response's id.
        data: The items.
        outputs: The outputs of the prompts, which contain their numbers of tokens.
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
