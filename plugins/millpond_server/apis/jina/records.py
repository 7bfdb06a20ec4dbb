"""Route specs of Jina's API, under /jina."""

from millpond_http.kinds import RouteSpec
from millpond_server.apis.common.records import variant
from millpond_server.apis.openai.records import EMBEDDINGS, MODELS
from millpond_server.apis.vllm.records import RERANK

JINA = variant(
    EMBEDDINGS,
    target="jina.routes:embeddings",
    summary="one vector per input, like Jina",
    request="jina.schemas:JinaEmbeddingRequest",
)

ROUTES: tuple[RouteSpec, ...] = ()
PREFIXED: tuple[RouteSpec, ...] = (
    JINA,
    RERANK,
    MODELS,
)
