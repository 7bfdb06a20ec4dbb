"""Route specs of Infinity's API, at the root and under /infinity."""

from millpond_http.kinds import RouteSpec
from millpond_server.apis.common.records import route, variant
from millpond_server.apis.openai.records import EMBEDDINGS, MODELS

INFINITY_EMBEDDINGS = variant(
    EMBEDDINGS,
    name="POST /embeddings",
    target="infinity.root:embeddings",
    summary="one vector per input, like OpenAI and Infinity",
    request="infinity.schemas:InfinityEmbeddingRequest",
)
INFINITY_IMAGES = variant(
    INFINITY_EMBEDDINGS,
    name="POST /embeddings_image",
    target="infinity.root:embeddings_image",
    summary="one vector per image, like Infinity",
)
INFINITY_MODELS = variant(
    MODELS,
    name="GET /models",
    target="infinity.root:list_models",
    summary="the models of this server, like Infinity",
    response="infinity.schemas:InfinityModelList",
)
PREFIXED_EMBEDDINGS = variant(
    INFINITY_EMBEDDINGS,
    target="infinity.routes:embeddings",
    summary="one vector per input, or one per token, like Infinity",
    always=True,
    request="infinity.schemas:InfinityTextsRequest",
)

ROUTES: tuple[RouteSpec, ...] = (
    INFINITY_EMBEDDINGS,
    INFINITY_IMAGES,
    INFINITY_MODELS,
)
PREFIXED: tuple[RouteSpec, ...] = (
    route(
        name="POST /rerank",
        target="infinity.routes:rerank",
        summary="documents ranked by relevance to a query, like Infinity",
        tasks=("score",),
        always=True,
        request="infinity.schemas:InfinityRerankRequest",
    ),
    route(
        name="POST /classify",
        target="infinity.routes:classify",
        summary="classes of texts with their labels, like Infinity",
        tasks=("classify",),
        always=True,
        request="infinity.schemas:InfinityClassifyRequest",
    ),
    PREFIXED_EMBEDDINGS,
    variant(
        PREFIXED_EMBEDDINGS,
        name="POST /embeddings_image",
        target="infinity.routes:embeddings_image",
        summary="one vector per image, like Infinity",
    ),
    variant(
        PREFIXED_EMBEDDINGS,
        name="POST /embeddings_audio",
        target="infinity.routes:embeddings_audio",
        summary="refused: no model supports audio",
    ),
    variant(INFINITY_MODELS, target="infinity.routes:list_models"),
    route(
        name="GET /health",
        target="infinity.routes:health",
        summary="state of the engines, with the time",
    ),
)
