"""Token ids in place of texts: refused if the operator says so, else told of once a client, for they often are wrong.

Some clients tokenise by themselves, with the vocabulary of OpenAI's models. To other models such ids mean other words,
or none; nobody notices but by bad results.
"""

import logging
from typing import Any

from starlette.types import Scope

from millpond_command.cli import printable
from millpond_server.http.errors import ApiError

logger = logging.getLogger(__name__)
FIELDS = ("input", "inputs")  # of bodies, which hold texts or ids
MOST = 1000  # clients that are told of; who changes the name of his program with each request fills no log
SHOWN = 200  # characters of the name of a client's program


class TokenIds:
    """Looks for token ids in bodies.

    Args:
        rejected: Whether they are refused.
    """

    def __init__(self, *, rejected: bool) -> None:
        self._rejected = rejected
        self._told: set[tuple[str, str]] = set()

    def check(self, body: object, scope: Scope) -> None:
        """Refuse a body that holds token ids, or tell of its client if it is the first time.

        Raises:
            ApiError: 400, if they are refused.
        """
        field = None
        if isinstance(body, dict):
            for name in FIELDS:
                if name in body and _are_ids(body[name]):
                    field = name
                    break
        if field is None:
            return
        if self._rejected:
            message = f"{field} holds token ids, which this server does not take: send texts"
            raise ApiError(400, message, parameter=field, reason="token_ids")
        client = (scope.get("client") or ("-",))[0]
        agent = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"user-agent"), "-")
        if (client, agent) in self._told or len(self._told) >= MOST:
            return
        self._told.add((client, agent))
        logger.warning(
            "the client %s (%s) sends token ids: they must be those of the model's own tokenizer, for others give "
            "wrong results, and no error. --reject-token-ids refuses them. This is said once a client",
            client,
            printable(agent[:SHOWN]),
        )


def _are_ids(value: Any) -> bool:
    """Whether a field holds the ids of one text, or of several."""
    if not isinstance(value, list) or set(map(type, value)) <= {str}:
        return False
    return any(isinstance(one[0] if isinstance(one, list) and one else one, int) for one in value)
