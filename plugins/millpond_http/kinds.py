"""The kind of records of this kit: HTTP routes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from millpond.plugin.hookspecs import hookspec
from millpond.plugin.specs import Spec


@dataclass(frozen=True, kw_only=True)
class RouteSpec(Spec):
    """An HTTP route, named by method and path (``POST /v1/embeddings``); target: async (request, llm) -> response.

    Attributes:
        tasks: The route is mounted if the model serves one of these tasks; empty to mount it for all models.
        always: True to mount the route for all models: it responds itself for models that serve none of its tasks.
        request: ``"module:Model"`` of the pydantic model that validates the body; for an upload, of the model that
            describes the fields of its form.
        response: ``"module:Model"`` of the pydantic model that describes the response.
        error: ``"module:Model"`` of the pydantic model that describes the errors, if the module of the handler has a
            function ``render_error``.
        body: The first argument of the handler: ``json`` for the validated body, ``bytes`` for the raw body of any
            content type, ``request`` for Starlette's ``Request``, whose body the handler reads itself, ``upload`` for a
            ``Request`` whose body the handler writes to a disk: it does not count as memory, and its maximum size is
            that of uploaded files.
        model_field: The field of a JSON body that names the model; None if the handler selects the model with
            ``call.use_model(name)``.
        key_headers: Headers for the API key, in addition to ``Authorization: Bearer``, ``api-key`` and ``x-api-key``.
        key_query: Query parameters for the API key.
        public: True if the route requires no API key.
    """

    kind: ClassVar[str] = "route"
    checks: ClassVar[str] = "millpond_http.record_checks"
    has_slashes: ClassVar[bool] = True
    tasks: tuple[str, ...] = ()
    always: bool = False
    request: str | None = None
    response: str | None = None
    error: str | None = None
    body: str = "json"
    model_field: str | None = "model"
    key_headers: tuple[str, ...] = ()
    key_query: tuple[str, ...] = ()
    public: bool = False


@hookspec
def register_routes() -> Iterable[RouteSpec]:
    """Declare HTTP routes.

    The name is method and path. The target is an async function that takes the request and the model and returns a
    response. Routes of installed plugins are not exposed by default: they are mounted only if the command that starts
    the server names the plugin.
    """
    return ()
