"""The record of an HTTP route."""

from dataclasses import dataclass
from typing import ClassVar

from millpond.plugin.specs.base import Spec


@dataclass(frozen=True, kw_only=True)
class RouteSpec(Spec):
    """An HTTP route, named by method and path (``POST /v1/embeddings``); target: async (request, llm) -> response.

    Attributes:
        tasks: The route is mounted if the model serves one of these tasks; empty to mount it for all models.
        always: True to mount the route for all models: it responds itself for models that serve none of its tasks.
        request: ``"module:Model"`` of the pydantic model that validates the body.
        response: ``"module:Model"`` of the pydantic model that describes the response.
        body: The first argument of the handler: ``json`` for the validated body, ``bytes`` for the raw body of any
            content type, ``request`` for Starlette's ``Request``, whose body the handler reads itself.
        model_field: The field of a JSON body that names the model; None if the handler selects the model with
            ``call.use_model(name)``.
        key_headers: Headers for the API key, in addition to ``Authorization: Bearer``, ``api-key`` and ``x-api-key``.
        key_query: Query parameters for the API key.
        public: True if the route requires no API key.
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
