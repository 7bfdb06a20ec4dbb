"""Call: one request, with the models and settings that its handler can use."""

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

MAX_QUERY_FIELDS = 1000
VALID_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
REQUEST_ID_HEADER = b"x-request-id"
OWNER = "millpond.owner"  # the key of the scope: the hash of the request's API key


@dataclass(kw_only=True)
class Call:
    """One request.

    Attributes:
        request_id: Its id, from the header or generated.
        headers: Its headers, by lower-case names.
        path_values: The parameters of the path, such as the id of a model.
        models: The models of the server.
        served: The model of the request.
        settings: The settings of the server.
        state: The state of the server.
        ignored: The names of the body's fields without effect.
        priority: The priority for the engine: 0 for interactive requests, 1 for batch requests.
        query_string: The query string, unparsed.
        owner: The SHA-256 of the API key of the request; empty for servers without keys.
        on_model: Called when the handler selects a model.
        created: The time of the request, as a Unix timestamp.
    """

    request_id: str
    headers: dict[str, str]
    path_values: dict[str, Any]
    models: Models
    served: ServedModel
    settings: Settings
    state: "State"
    ignored: tuple[str, ...] = ()
    priority: int = 0
    query_string: bytes = b""
    owner: str = ""
    on_model: "Callable[[Call], None]" = lambda _: None
    created: int = field(default_factory=lambda: int(time.time()))

    def id(self, prefix: str) -> str:
        """Return the id of a response."""
        return f"{prefix}-{self.request_id}"

    def take_id(self, request: Any) -> None:
        """Use the id in the request's header, else the ``request_id`` of its body, if there is one."""
        header = self.headers.get("x-request-id")
        if header is not None and is_valid_id(header.encode("latin-1")):
            self.request_id = header
        elif isinstance(field := getattr(request, "request_id", None), str):
            self.request_id = field

    @property
    def query(self) -> Mapping[str, str]:
        """The fields of the query string; the last value of a repeated field.

        Raises:
            ApiError: 400 if there are too many.
        """
        text = self.query_string.decode("latin-1")
        try:
            return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS))
        except ValueError as error:
            raise ApiError(400, f"the query cannot be read: {error}", parameter="query", reason="invalid") from None

    def use_model(self, name: object) -> ServedModel:
        """Select the model of the request, for routes without a model field; None is the default model.

        Raises:
            ApiError: 404 if no model has that name, 503 if it accepts no requests at present.
        """
        self.served = self.models.get(name)
        self.on_model(self)
        return self.served


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the request id in the headers, or a new one."""
    for name, value in headers:
        if name == REQUEST_ID_HEADER:
            return value.decode("ascii") if is_valid_id(value) else new_id()
    return new_id()


def is_valid_id(value: bytes) -> bool:
    """Return True if a header value is usable as a request id."""
    return VALID_REQUEST_ID.fullmatch(value) is not None


def new_id() -> str:
    """Return a random request id."""
    return f"{random.getrandbits(128):032x}"
