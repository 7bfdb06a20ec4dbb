"""The routes of Infinity, at the root and below /infinity."""

from millpond.plugin.specs import RouteSpec
from millpond_server.apis.common.records import route, variant
from millpond_server.apis.openai.records import EMBEDDINGS, MODELS

INFINITY_EMBEDDINGS = variant(
    EMBEDDINGS,
    name="POST /embeddings",
    target="infinity.root:embeddings",
    summary="one vector an input, as OpenAI and Infinity have it",
    request="infinity.schemas:InfinityEmbeddingRequest",
)
INFINITY_IMAGES = variant(
    INFINITY_EMBEDDINGS,
    name="POST /embeddings_image",
    target="infinity.root:embeddings_image",
    summary="one vector an image, as Infinity has it",
)
INFINITY_MODELS = variant(
    MODELS,
    name="GET /models",
    target="infinity.root:list_models",
    summary="the models of this server, as Infinity has it",
    response="infinity.schemas:InfinityModelList",
)
INFINITY_OWN = variant(
    INFINITY_EMBEDDINGS,
    target="infinity.routes:embeddings",
    summary="one vector an input, or one a token, as Infinity has it",
    tasks=("embed", "token_embed"),
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
        summary="documents in the order of how well they fit a query, as Infinity has it",
        tasks=("score",),
        always=True,
        request="infinity.schemas:InfinityRerankRequest",
    ),
    route(
        name="POST /classify",
        target="infinity.routes:classify",
        summary="the classes of texts by their names, as Infinity has it",
        tasks=("classify",),
        always=True,
        request="infinity.schemas:InfinityClassifyRequest",
    ),
    INFINITY_OWN,
    variant(
        INFINITY_OWN,
        name="POST /embeddings_image",
        target="infinity.routes:embeddings_image",
        summary="one vector an image, as Infinity has it",
    ),
    variant(
        INFINITY_OWN,
        name="POST /embeddings_audio",
        target="infinity.routes:embeddings_audio",
        summary="refused: no model here reads recordings",
    ),
    variant(INFINITY_MODELS, target="infinity.routes:list_models"),
    route(
        name="GET /health",
        target="infinity.routes:health",
        summary="the time, if its engines turn",
    ),
)
