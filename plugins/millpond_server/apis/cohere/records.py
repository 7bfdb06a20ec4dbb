"""The routes of Cohere's API, at the root and below /cohere."""

from millpond.plugin.specs import RouteSpec
from millpond_server.apis.common.records import route, variant

COHERE_V2 = route(
    name="POST /v2/embed",
    target="cohere.routes:embed",
    summary="vectors of several kinds, as Cohere has it",
    tasks=("embed",),
    request="cohere.schemas:CohereEmbedRequest",
    response="cohere.schemas:CohereEmbedResponse",
)
COHERE_V1 = variant(COHERE_V2, name="POST /v1/embed", target="cohere.routes:embed_v1")
COHERE_RERANK = route(
    name="POST /v2/rerank",
    target="cohere.routes:rerank",
    summary="documents in the order of how well they fit a query, as Cohere has it: what is too long is cut",
    tasks=("score",),
    request="vllm.schemas:RerankRequest",
    response="vllm.schemas:RerankResponse",
)

ROUTES: tuple[RouteSpec, ...] = (
    COHERE_V1,
    COHERE_V2,
    COHERE_RERANK,
)
PREFIXED: tuple[RouteSpec, ...] = (
    COHERE_V1,
    COHERE_V2,
    variant(COHERE_RERANK, name="POST /v1/rerank"),
    COHERE_RERANK,
)
