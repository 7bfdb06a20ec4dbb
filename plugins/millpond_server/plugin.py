"""Names the routes and the command that the server comes with."""

from collections.abc import Iterator

from millpond.hookspecs import hookimpl
from millpond.specs import CommandSpec, RouteSpec

HERE = "millpond_server"


@hookimpl
def register_commands() -> Iterator[CommandSpec]:
    """Serve models over HTTP."""
    yield CommandSpec(name="serve", target=f"{HERE}.serve:app", summary="Serve models over HTTP.")


@hookimpl
def register_routes() -> Iterator[RouteSpec]:
    """The routes of many APIs, on one set of models."""
    for path in ("/v1/embeddings", "/embeddings"):
        yield RouteSpec(
            name=f"POST {path}",
            target=f"{HERE}.routes.embeddings:embeddings",
            summary="one vector an input, as OpenAI has it",
            tasks=("embed",),
            request=f"{HERE}.protocol.embeddings:EmbeddingRequest",
            response=f"{HERE}.protocol.embeddings:EmbeddingResponse",
        )
    for path in ("/v1/models", "/models"):
        yield RouteSpec(
            name=f"GET {path}",
            target=f"{HERE}.routes.models:list_models",
            summary="the models of this server",
            response=f"{HERE}.protocol.models:ModelList",
        )
    yield RouteSpec(
        name="GET /v1/models/{id:path}",
        target=f"{HERE}.routes.models:show_model",
        summary="one model of this server",
        response=f"{HERE}.protocol.models:ModelCard",
    )
    for path in ("/health", "/ping"):
        yield RouteSpec(name=f"GET {path}", target=f"{HERE}.routes.health:health", summary="whether its engines turn")
    yield RouteSpec(name="POST /ping", target=f"{HERE}.routes.health:health", summary="whether its engines turn")
    yield RouteSpec(name="GET /live", target=f"{HERE}.routes.health:live", summary="whether the process answers")
    yield RouteSpec(name="GET /version", target=f"{HERE}.routes.health:version", summary="the version of Millpond")
