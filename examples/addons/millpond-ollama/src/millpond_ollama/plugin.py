"""Registers the routes of Ollama's API."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond_http.kinds import RouteSpec

MILLPOND_API = 1
HANDLERS = "millpond_ollama.routes"
SCHEMAS = "millpond_ollama.schemas"
ERROR = f"{SCHEMAS}:ErrorResponse"


@hookimpl
def register_routes() -> Iterator[RouteSpec]:
    """Register the routes, mounted by ``millpond serve MODEL --routes ollama``.

    ``model_field`` is None: names of models may have a tag, so the handlers select the model.
    """
    yield RouteSpec(
        name="POST /api/embed",
        target=f"{HANDLERS}:embed",
        summary="one normalized vector per text, like Ollama",
        tasks=("embed",),
        request=f"{SCHEMAS}:EmbedRequest",
        response=f"{SCHEMAS}:EmbedResponse",
        error=ERROR,
        model_field=None,
    )
    yield RouteSpec(
        name="POST /api/embeddings",
        target=f"{HANDLERS}:embeddings",
        summary="the vector of one text, not normalized; superseded by /api/embed",
        tasks=("embed",),
        request=f"{SCHEMAS}:EmbeddingsRequest",
        response=f"{SCHEMAS}:EmbeddingsResponse",
        error=ERROR,
        model_field=None,
    )
    yield RouteSpec(
        name="POST /api/rerank",
        target=f"{HANDLERS}:rerank",
        summary="documents ranked by relevance to a query; Ollama itself has no such route",
        tasks=("score",),
        request=f"{SCHEMAS}:RerankRequest",
        response=f"{SCHEMAS}:RerankResponse",
        error=ERROR,
        model_field=None,
    )
    yield RouteSpec(
        name="GET /api/tags",
        target=f"{HANDLERS}:tags",
        summary="the models of the server",
        response=f"{SCHEMAS}:TagsResponse",
        error=ERROR,
    )
    yield RouteSpec(
        name="POST /api/show",
        target=f"{HANDLERS}:show",
        summary="the description of a model",
        request=f"{SCHEMAS}:ShowRequest",
        response=f"{SCHEMAS}:ShowResponse",
        error=ERROR,
        model_field=None,
    )
    yield RouteSpec(
        name="GET /api/version",
        target=f"{HANDLERS}:version",
        summary="the version of Ollama whose API this is",
        response=f"{SCHEMAS}:VersionResponse",
        error=ERROR,
    )
