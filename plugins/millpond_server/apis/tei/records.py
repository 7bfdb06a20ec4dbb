"""Route specs of text-embeddings-inference's API, at the root and under /tei."""

from millpond_http.kinds import RouteSpec
from millpond_server.apis.common.records import route, variant
from millpond_server.apis.openai.records import EMBEDDINGS
from millpond_server.apis.vllm.records import RERANK

ANY_RERANK = variant(
    RERANK,
    name="POST /rerank",
    target="tei.root:rerank",
    always=True,
    summary="documents ranked by relevance to a query; with `texts`, like text-embeddings-inference",
    request="tei.schemas:AnyRerankRequest",
    response="tei.schemas:AnyRerankResponse",
)
TOKENIZE = route(
    name="POST /tokenize",
    target="tei.root:tokenize",
    summary="the tokens of a text",
    request="tei.schemas:AnyTokenizeRequest",
    response="tei.schemas:AnyTokenizeResponse",
)
TEI_EMBED = route(
    name="POST /embed",
    target="tei.routes:embed",
    summary="one vector per text; `dimensions` truncates the vectors of any model",
    tasks=("embed",),
    always=True,
    request="tei.schemas:TeiEmbedRequest",
    response="tei.schemas:Vectors",
)
TEI = (
    TEI_EMBED,
    route(
        name="POST /embed_all",
        target="tei.routes:embed_all",
        summary="one vector per token",
        tasks=("token_embed",),
        always=True,
        request="tei.schemas:TeiEmbedAllRequest",
        response="tei.schemas:TokenVectors",
    ),
    route(
        name="POST /embed_sparse",
        target="tei.routes:embed_sparse",
        summary="sparse vectors: weights of tokens of the vocabulary",
        tasks=("embed_sparse",),
        always=True,
        request="tei.schemas:TeiSparseRequest",
        response="tei.schemas:SparseVectors",
    ),
    route(
        name="POST /predict",
        target="tei.routes:predict",
        summary="classes of texts or pairs",
        tasks=("classify",),
        always=True,
        request="tei.schemas:TeiPredictRequest",
        response="tei.schemas:Classes",
    ),
    route(
        name="POST /similarity",
        target="tei.routes:similarity",
        summary="similarity of a sentence to other sentences",
        tasks=("score",),
        always=True,
        request="tei.schemas:TeiSimilarityRequest",
        response="tei.schemas:Similarities",
    ),
    route(
        name="POST /decode",
        target="tei.routes:decode",
        summary="the texts of token ids",
        request="tei.schemas:TeiDecodeRequest",
        response="tei.schemas:Texts",
    ),
    route(name="GET /info", target="tei.routes:info", summary="description of the default model"),
    route(name="POST /", target="tei.routes:root", summary="the main task of the default model"),
)
TEI_RERANK = route(
    name="POST /rerank",
    target="tei.routes:rerank",
    summary="texts ranked by relevance to a query",
    tasks=("score",),
    always=True,
    request="tei.schemas:TeiRerankRequest",
    response="tei.schemas:Ranks",
)
TEI_TOKENIZE = route(
    name="POST /tokenize",
    target="tei.routes:tokenize",
    summary="the tokens of texts",
    request="tei.schemas:TeiTokenizeRequest",
    response="tei.schemas:Tokens",
)
TEI_OPENAI = variant(
    EMBEDDINGS,
    target="tei.openai:embeddings",
    tasks=("embed",),
    summary="one vector per input, like OpenAI, with the errors of text-embeddings-inference",
    always=True,
    request="tei.schemas:TeiOpenAIRequest",
)

ROUTES: tuple[RouteSpec, ...] = (
    ANY_RERANK,
    TOKENIZE,
    *TEI,
)
PREFIXED: tuple[RouteSpec, ...] = (
    *TEI,
    TEI_RERANK,
    TEI_TOKENIZE,
    TEI_OPENAI,
    variant(TEI_OPENAI, name="POST /embeddings"),
    route(name="GET /health", target="millpond.health:health", summary="state of the engines"),
)
