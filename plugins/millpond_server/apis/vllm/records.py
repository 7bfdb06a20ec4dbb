"""Route specs of vLLM's API, at the root and under /vllm."""

from millpond_http.kinds import RouteSpec
from millpond_server.apis.cohere.records import COHERE_V2
from millpond_server.apis.common.records import route, variant
from millpond_server.apis.openai.records import EMBEDDINGS, MODELS

POOLING = route(
    name="POST /pooling",
    target="vllm.routes:pooling",
    summary="the result of any pooling task, like vLLM",
    request="vllm.schemas:PoolingRequest",
    response="vllm.schemas:PoolingResponse",
)
CLASSIFY = route(
    name="POST /classify",
    target="vllm.routes:classify",
    summary="classes of texts, like vLLM",
    tasks=("classify",),
    request="vllm.schemas:ClassificationRequest",
    response="vllm.schemas:ClassificationResponse",
)
SCORE = route(
    name="POST /score",
    target="vllm.routes:score",
    summary="scores of queries and documents, like vLLM",
    tasks=("score",),
    request="vllm.schemas:ScoreRequest",
    response="vllm.schemas:ScoreResponse",
)
RERANK = route(
    name="POST /v1/rerank",
    target="vllm.routes:rerank",
    summary="documents ranked by relevance to a query, like Cohere, Jina and vLLM",
    tasks=("score",),
    request="vllm.schemas:RerankRequest",
    response="vllm.schemas:RerankResponse",
)
DETOKENIZE = route(
    name="POST /detokenize",
    target="vllm.routes:detokenize",
    summary="the text of token ids",
    request="vllm.schemas:DetokenizeRequest",
    response="vllm.schemas:DetokenizeResponse",
)

ROUTES: tuple[RouteSpec, ...] = (
    POOLING,
    CLASSIFY,
    SCORE,
    variant(SCORE, name="POST /v1/score"),
    RERANK,
    DETOKENIZE,
    route(name="POST /invocations", target="vllm.routes:invocations", summary="the route that the body matches"),
)
PREFIXED: tuple[RouteSpec, ...] = (
    variant(EMBEDDINGS, target="openai.routes:embeddings_with_empty_texts", summary="one vector per input, like vLLM"),
    COHERE_V2,
    POOLING,
    CLASSIFY,
    SCORE,
    variant(SCORE, name="POST /v1/score"),
    variant(RERANK, name="POST /rerank"),
    RERANK,
    variant(RERANK, name="POST /v2/rerank"),
    route(
        name="POST /tokenize",
        summary="the tokens of a text",
        target="vllm.routes:tokenize",
        request="vllm.schemas:TokenizeRequest",
        response="vllm.schemas:TokenizeResponse",
    ),
    DETOKENIZE,
    MODELS,
)
