"""Call: one request on its way through a route, and what the route may ask of the server."""

import random
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from millpond_server.http.errors import ApiError
from millpond_server.runtime.models import Models, ServedModel
from millpond_server.runtime.settings import Settings

if TYPE_CHECKING:
    from millpond_server.runtime.state import State

MOST_FIELDS = 1000  # of a query string


PLAIN = re.compile(rb"[A-Za-z0-9._-]{1,64}")
HEADER = b"x-request-id"


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
        state: The parts of the server.
        ignored: The fields of the body that nothing reads.
        bulk: Whether it lets others pass.
        query_string: What follows the path, as it was sent.
        on_model: Called when the handler chooses a model.
    """

    request_id: str
    headers: dict[str, str]
    path_values: dict[str, Any]
    models: Models
    served: ServedModel
    settings: Settings
    state: "State"
    ignored: tuple[str, ...] = ()
    bulk: bool = False
    query_string: bytes = b""
    on_model: "Callable[[Call], None]" = lambda _: None
    created: int = field(default_factory=lambda: int(time.time()))

    def id(self, prefix: str) -> str:
        """The id of an answer."""
        return f"{prefix}-{self.request_id}"

    def take_id(self, request: Any) -> None:
        """Take the id of the request's header, else the ``request_id`` of its body, where there is one."""
        brought = self.headers.get("x-request-id")
        if brought is not None and is_plain(brought.encode("latin-1")):
            self.request_id = brought
        elif isinstance(named := getattr(request, "request_id", None), str):
            self.request_id = named

    @property
    def query(self) -> Mapping[str, str]:
        """The fields of the query; of several with one name, the last.

        Raises:
            ApiError: 400 if there are too many.
        """
        text = self.query_string.decode("latin-1")
        try:
            return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS))
        except ValueError as error:
            raise ApiError(400, f"the query cannot be read: {error}", parameter="query", reason="invalid") from None

    def use_model(self, name: object) -> ServedModel:
        """Choose the model of this request, where its body does not name it; None is the default model.

        Raises:
            ApiError: 404 if there is no model of that name, 503 if it takes no requests at present.
        """
        self.served = self.models.get(name)
        self.on_model(self)
        return self.served

    @property
    def priority(self) -> int:
        """The lane of the request: work in bulk waits behind what somebody waits for."""
        return 1 if self.bulk else 0


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The id of a request with these headers."""
    for name, value in headers:
        if name == HEADER:
            return value.decode("ascii") if is_plain(value) else new_id()
    return new_id()


def is_plain(brought: bytes) -> bool:
    """Return True if the value of the header is taken as an id."""
    return PLAIN.fullmatch(brought) is not None


def new_id() -> str:
    """Return an id for a request that brings none."""
    return f"{random.getrandbits(128):032x}"
