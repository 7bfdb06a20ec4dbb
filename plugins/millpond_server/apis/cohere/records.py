"""Route specs of Cohere's API, at the root and under /cohere."""

from millpond_http.kinds import RouteSpec
from millpond_server.apis.common.records import route, variant

COHERE_V2 = route(
    name="POST /v2/embed",
    target="cohere.routes:embed",
    summary="vectors of several types, like Cohere",
    tasks=("embed",),
    request="cohere.schemas:CohereEmbedRequest",
    response="cohere.schemas:CohereEmbedResponse",
)
COHERE_V1 = variant(COHERE_V2, name="POST /v1/embed", target="cohere.routes:embed_v1")
COHERE_RERANK = route(
    name="POST /v2/rerank",
    target="cohere.routes:rerank",
    summary="documents ranked by relevance to a query, like Cohere; long documents are truncated",
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
