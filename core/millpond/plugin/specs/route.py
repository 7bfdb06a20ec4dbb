"""The record of an HTTP route."""

from dataclasses import dataclass
from typing import ClassVar

from millpond.plugin.specs.base import Spec


@dataclass(frozen=True, kw_only=True)
class RouteSpec(Spec):
    """An HTTP route, named by method and path (``POST /v1/embeddings``); target: async (request, llm) -> response.

    Attributes:
        tasks: Mounted if the model serves one of these; empty for always.
        always: Mounted whatever the model serves: the route itself answers for models that serve none of its tasks.
        request: ``"module:Model"`` of the pydantic model that validates the body.
        response: ``"module:Model"`` of the pydantic model that describes the answer.
        body: What the handler gets: ``json`` for the validated body, ``bytes`` for the body as it is, of any content
            type, ``request`` for Starlette's ``Request``, whose body the handler reads by itself.
        model_field: The field of a JSON body that names the model; None where the handler names it, by
            ``call.use_model(name)``.
        key_headers: Headers that may hold the API key, beside ``Authorization: Bearer``, ``api-key`` and ``x-api-key``.
        key_query: Fields of the query that may hold it.
        public: True if it needs no API key.
    """

    kind: ClassVar[str] = "route"
    tasks: tuple[str, ...] = ()
    always: bool = False
    request: str | None = None
    response: str | None = None
    body: str = "json"
    model_field: str | None = "model"
    key_headers: tuple[str, ...] = ()
    key_query: tuple[str, ...] = ()
    public: bool = False
