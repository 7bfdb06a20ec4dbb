"""The records of commands, HTTP routes, executors and services."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from millpond.plugin.specs.base import Spec


@dataclass(frozen=True, kw_only=True)
class CommandSpec(Spec):
    """A command under ``millpond``; its target is a ``typer.Typer``.

    Attributes:
        group: The heading under which ``millpond --help`` lists it: that of built-in commands, such as "Run models", or
            a new one.
    """

    kind: ClassVar[str] = "command"
    group: str = "Other commands"


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


@dataclass(frozen=True, kw_only=True)
class ExecutorSpec(Spec):
    """A part that computes batches; target: ``(EngineSetup) -> Executor``.

    The name is a value of the argument ``data_parallel_backend`` of ``LLM``, for several processes; or a type of device
    such as ``cuda``, for models on one such device. ``EngineSetup`` is in ``millpond.executor``, and the protocol
    ``Executor`` in ``millpond.engine.executor``.
    """

    kind: ClassVar[str] = "executor"


@dataclass(frozen=True, kw_only=True)
class ServiceSpec(Spec):
    """An object for other plugins or the core, by its name; `millpond.types.services` describes the roles.

    Attributes:
        role: "cluster" for machines that run jobs, "application" for an HTTP API in the server of a different program,
            "arguments" for arguments of another library that are accepted by ``LLM``, "results" for the look-up of
            results in a cache, "space" for the space of a model's embeddings.
    """

    kind: ClassVar[str] = "service"
    role: Literal["cluster", "application", "arguments", "results", "space"]
