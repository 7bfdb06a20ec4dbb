"""Route specs of OpenAI's API."""

from millpond.plugin.specs import RouteSpec
from millpond_server.apis.common.records import route

EMBEDDINGS = route(
    name="POST /v1/embeddings",
    target="openai.routes:embeddings",
    summary="one vector per input, like OpenAI",
    tasks=("embed",),
    request="openai.schemas:EmbeddingRequest",
    response="openai.schemas:EmbeddingResponse",
)
MODELS = route(
    name="GET /v1/models",
    target="openai.routes:list_models",
    summary="the models of this server",
    response="openai.schemas:ModelList",
)

ROUTES: tuple[RouteSpec, ...] = (
    EMBEDDINGS,
    MODELS,
    route(
        name="GET /v1/models/{id:path}",
        target="openai.routes:show_model",
        summary="one model of this server",
        response="openai.schemas:ModelCard",
    ),
)
PREFIXED: tuple[RouteSpec, ...] = ()
