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
    for path, function in (("/v1/embed", "embed_v1"), ("/v2/embed", "embed")):
        yield RouteSpec(
            name=f"POST {path}",
            target=f"{HERE}.routes.cohere:{function}",
            summary="vectors of several kinds, as Cohere has it",
            tasks=("embed",),
            request=f"{HERE}.protocol.cohere:CohereEmbedRequest",
            response=f"{HERE}.protocol.cohere:CohereEmbedResponse",
        )
    yield RouteSpec(
        name="POST /pooling",
        target=f"{HERE}.routes.pooling:pooling",
        summary="the bare result of any task, as vLLM has it",
        request=f"{HERE}.protocol.pooling:PoolingRequest",
        response=f"{HERE}.protocol.pooling:PoolingResponse",
    )
    yield RouteSpec(
        name="POST /classify",
        target=f"{HERE}.routes.classify:classify",
        summary="the classes of texts",
        tasks=("classify",),
        request=f"{HERE}.protocol.classify:ClassificationRequest",
        response=f"{HERE}.protocol.classify:ClassificationResponse",
    )
    for path in ("/score", "/v1/score"):
        yield RouteSpec(
            name=f"POST {path}",
            target=f"{HERE}.routes.scoring:score",
            summary="how well queries and documents go together",
            tasks=("score",),
            request=f"{HERE}.protocol.scoring:ScoreRequest",
            response=f"{HERE}.protocol.scoring:ScoreResponse",
        )
    for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
        yield RouteSpec(
            name=f"POST {path}",
            target=f"{HERE}.routes.scoring:rerank",
            summary="documents in the order of how well they fit a query",
            tasks=("score",),
            request=f"{HERE}.protocol.scoring:RerankRequest",
            response=f"{HERE}.protocol.scoring:RerankResponse",
        )
    for name in ("tokenize", "detokenize"):
        yield RouteSpec(
            name=f"POST /{name}",
            target=f"{HERE}.routes.tokens:{name}",
            summary="the tokens of a text" if name == "tokenize" else "the text of tokens",
            request=f"{HERE}.protocol.tokens:{name.capitalize()}Request",
            response=f"{HERE}.protocol.tokens:{name.capitalize()}Response",
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
