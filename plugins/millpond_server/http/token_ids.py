"""Check for token ids as inputs: refused with --reject-token-ids, else logged once per client.

Some clients tokenize inputs themselves, with the vocabulary of OpenAI's models. For other models these ids are
different tokens, or none, and the only symptom is bad results.
"""

import logging
from typing import Any

from starlette.types import Scope

from millpond_command.cli import printable
from millpond_server.http.errors import ApiError

logger = logging.getLogger(__name__)
INPUT_FIELDS = ("input", "inputs")
MAX_LOGGED_CLIENTS = 1000  # bounds the log if a client sends a different user agent with each request
MAX_LOGGED_AGENT_CHARS = 200


class TokenIdCheck:
    """Detects token ids in bodies.

    Args:
        is_rejected: True to refuse them, False to log them once per client.
    """

    def __init__(self, *, is_rejected: bool) -> None:
        self._is_rejected = is_rejected
        self._logged_clients: set[tuple[str, str]] = set()

    def check(self, body: object, scope: Scope) -> None:
        """Refuse a body that contains token ids, or log the first one of each client.

        Raises:
            ApiError: 400, if token ids are refused.
        """
        field = None
        if isinstance(body, dict):
            for name in INPUT_FIELDS:
                if name in body and _are_token_ids(body[name]):
                    field = name
                    break
        if field is None:
            return
        if self._is_rejected:
            message = f"{field} contains token ids, which this server does not accept: send texts"
            raise ApiError(400, message, parameter=field, reason="token_ids")
        client = (scope.get("client") or ("-",))[0]
        agent = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"user-agent"), "-")
        if (client, agent) in self._logged_clients or len(self._logged_clients) >= MAX_LOGGED_CLIENTS:
            return
        self._logged_clients.add((client, agent))
        logger.warning(
            "the client %s (%s) sends token ids: they must be those of the model's own tokenizer, because others give "
            "wrong results without an error. --reject-token-ids refuses them. This is logged once per client",
            client,
            printable(agent[:MAX_LOGGED_AGENT_CHARS]),
        )


def _are_token_ids(value: Any) -> bool:
    """Return True if a field contains the token ids of one text or of several."""
    if not isinstance(value, list) or set(map(type, value)) <= {str}:
        return False
    return any(isinstance(item[0] if isinstance(item, list) and item else item, int) for item in value)
