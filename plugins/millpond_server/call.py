"""Call: one request on its way through a route, and what the route may ask of the server."""

import random
import time
from dataclasses import dataclass, field
from typing import Any

from millpond_server.models import Models, ServedModel
from millpond_server.settings import Settings


@dataclass(kw_only=True)
class Call:
    """One request on its way through a route.

    Attributes:
        request_id: Its id, from its header or made here.
        headers: Its headers, by lower-case names.
        path_values: What the path holds, such as the id of a model.
        models: The models of the server.
        served: The model that the request named.
        settings: How the server is run.
        state: What the server's parts know of one another.
        ignored: The fields of the body that nothing reads.
        bulk: Whether it lets others pass.
    """

    request_id: str
    headers: dict[str, str]
    path_values: dict[str, Any]
    models: Models
    served: ServedModel
    settings: Settings
    state: Any = None
    ignored: tuple[str, ...] = ()
    bulk: bool = False
    created: int = field(default_factory=lambda: int(time.time()))

    def id(self, prefix: str) -> str:
        """The id of an answer."""
        return f"{prefix}-{self.request_id}"

    @property
    def priority(self) -> int:
        """The lane of the request: work in bulk waits behind what somebody waits for."""
        return 1 if self.bulk else 0


def new_id() -> str:
    """An id for a request that brings none."""
    return f"{random.getrandbits(128):032x}"
