"""The routes of the server as rows: path, target, request, answer; and the prefixes under which clients find them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from millpond.plugin.specs import RouteSpec

HERE = "millpond_server"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One route.

    Attributes:
        name: Method and path.
        target: The module below ``apis`` and its function.
        summary: What it does.
        tasks: The tasks one of which a model must serve.
        always: Whether the route is mounted although no model serves one of them, and answers for that itself.
        request: The module below ``apis`` and its pydantic model.
        response: Likewise.
    """

    name: str
    target: str
    summary: str
    tasks: tuple[str, ...] = ()
    always: bool = False
    request: str | None = None
    response: str | None = None

    def at(self, name: str) -> "Row":
        """The same under another name."""
        return replace(self, name=name)

    def spec(self) -> RouteSpec:
        """The record."""
        return RouteSpec(
            name=self.name,
            target=f"{HERE}.apis.{self.target}",
            summary=self.summary,
            tasks=self.tasks,
            always=self.always,
            request=None if self.request is None else f"{HERE}.apis.{self.request}",
            response=None if self.response is None else f"{HERE}.apis.{self.response}",
        )


EMBEDDINGS = Row(
    name="POST /v1/embeddings",
    target="openai.routes:embeddings",
    summary="one vector an input, as OpenAI has it",
    tasks=("embed",),
    request="openai.schemas:EmbeddingRequest",
    response="openai.schemas:EmbeddingResponse",
)
COHERE_V2 = Row(
    name="POST /v2/embed",
    target="cohere.routes:embed",
    summary="vectors of several kinds, as Cohere has it",
    tasks=("embed",),
    request="cohere.schemas:CohereEmbedRequest",
    response="cohere.schemas:CohereEmbedResponse",
)
COHERE_V1 = replace(COHERE_V2, name="POST /v1/embed", target="cohere.routes:embed_v1")
POOLING = Row(
    name="POST /pooling",
    target="vllm.routes:pooling",
    summary="the bare result of any task, as vLLM has it",
    request="vllm.schemas:PoolingRequest",
    response="vllm.schemas:PoolingResponse",
)
CLASSIFY = Row(
    name="POST /classify",
    target="vllm.routes:classify",
    summary="the classes of texts, as vLLM has it",
    tasks=("classify",),
    request="vllm.schemas:ClassificationRequest",
    response="vllm.schemas:ClassificationResponse",
)
SCORE = Row(
    name="POST /score",
    target="vllm.routes:score",
    summary="how well queries and documents go together, as vLLM has it",
    tasks=("score",),
    request="vllm.schemas:ScoreRequest",
    response="vllm.schemas:ScoreResponse",
)
RERANK = Row(
    name="POST /v1/rerank",
    target="vllm.routes:rerank",
    summary="documents in the order of how well they fit a query, as Cohere, Jina and vLLM have it",
    tasks=("score",),
    request="vllm.schemas:RerankRequest",
    response="vllm.schemas:RerankResponse",
)
COHERE_RERANK = replace(
    RERANK,
    name="POST /v2/rerank",
    target="cohere.routes:rerank",
    summary="documents in the order of how well they fit a query, as Cohere has it: what is too long is cut",
)
ANY_RERANK = replace(
    RERANK,
    name="POST /rerank",
    target="tei.root:rerank",
    always=True,
    summary="documents in the order of how well they fit a query; with `texts`, as text-embeddings-inference has it",
    request="tei.schemas:AnyRerankRequest",
    response="tei.schemas:AnyRerankResponse",
)
TOKENIZE = Row(
    name="POST /tokenize",
    target="tei.root:tokenize",
    summary="the tokens of a text",
    request="tei.schemas:AnyTokenizeRequest",
    response="tei.schemas:AnyTokenizeResponse",
)
DETOKENIZE = Row(
    name="POST /detokenize",
    target="vllm.routes:detokenize",
    summary="the text of tokens",
    request="vllm.schemas:DetokenizeRequest",
    response="vllm.schemas:DetokenizeResponse",
)
MODELS = Row(
    name="GET /v1/models",
    target="openai.routes:list_models",
    summary="the models of this server",
    response="openai.schemas:ModelList",
)
INFINITY_EMBEDDINGS = replace(
    EMBEDDINGS,
    name="POST /embeddings",
    target="infinity.root:embeddings",
    summary="one vector an input, as OpenAI and Infinity have it",
    request="infinity.schemas:InfinityEmbeddingRequest",
)
INFINITY_IMAGES = replace(
    INFINITY_EMBEDDINGS,
    name="POST /embeddings_image",
    target="infinity.root:embeddings_image",
    summary="one vector an image, as Infinity has it",
)
INFINITY_MODELS = replace(
    MODELS,
    name="GET /models",
    target="infinity.root:list_models",
    summary="the models of this server, as Infinity has it",
    response="infinity.schemas:InfinityModelList",
)
TEI_EMBED = Row(
    name="POST /embed",
    target="tei.routes:embed",
    summary="one vector a text, as text-embeddings-inference has it",
    tasks=("embed",),
    always=True,
    request="tei.schemas:TeiEmbedRequest",
    response="tei.schemas:Vectors",
)
TEI = (
    TEI_EMBED,
    Row(
        name="POST /embed_all",
        target="tei.routes:embed_all",
        summary="one vector a token",
        tasks=("token_embed",),
        always=True,
        request="tei.schemas:TeiEmbedAllRequest",
        response="tei.schemas:TokenVectors",
    ),
    Row(
        name="POST /embed_sparse",
        target="tei.routes:embed_sparse",
        summary="weights of tokens of the vocabulary",
        tasks=("embed_sparse",),
        always=True,
        request="tei.schemas:TeiSparseRequest",
        response="tei.schemas:SparseVectors",
    ),
    Row(
        name="POST /predict",
        target="tei.routes:predict",
        summary="the classes of texts or of pairs",
        tasks=("classify",),
        always=True,
        request="tei.schemas:TeiPredictRequest",
        response="tei.schemas:Classes",
    ),
    Row(
        name="POST /similarity",
        target="tei.routes:similarity",
        summary="how like a sentence others are",
        tasks=("score",),
        always=True,
        request="tei.schemas:TeiSimilarityRequest",
        response="tei.schemas:Likenesses",
    ),
    Row(
        name="POST /decode",
        target="tei.routes:decode",
        summary="the texts of token ids",
        request="tei.schemas:TeiDecodeRequest",
        response="tei.schemas:Texts",
    ),
    Row(name="GET /info", target="tei.routes:info", summary="what the default model is"),
    Row(name="POST /", target="tei.routes:root", summary="what the default model is for"),
)
TEI_RERANK = Row(
    name="POST /rerank",
    target="tei.routes:rerank",
    summary="texts in the order of how well they fit a query",
    tasks=("score",),
    always=True,
    request="tei.schemas:TeiRerankRequest",
    response="tei.schemas:Ranks",
)
TEI_TOKENIZE = Row(
    name="POST /tokenize",
    target="tei.routes:tokenize",
    summary="the tokens of texts",
    request="tei.schemas:TeiTokenizeRequest",
    response="tei.schemas:Tokens",
)
INFINITY_OWN = replace(
    INFINITY_EMBEDDINGS,
    target="infinity.routes:embeddings",
    summary="one vector an input, or one a token, as Infinity has it",
    tasks=("embed", "token_embed"),
    always=True,
    request="infinity.schemas:InfinityTextsRequest",
)
INFINITY = (
    Row(
        name="POST /rerank",
        target="infinity.routes:rerank",
        summary="documents in the order of how well they fit a query, as Infinity has it",
        tasks=("score",),
        always=True,
        request="infinity.schemas:InfinityRerankRequest",
    ),
    Row(
        name="POST /classify",
        target="infinity.routes:classify",
        summary="the classes of texts by their names, as Infinity has it",
        tasks=("classify",),
        always=True,
        request="infinity.schemas:InfinityClassifyRequest",
    ),
    INFINITY_OWN,
    replace(
        INFINITY_OWN,
        name="POST /embeddings_image",
        target="infinity.routes:embeddings_image",
        summary="one vector an image, as Infinity has it",
    ),
    replace(
        INFINITY_OWN,
        name="POST /embeddings_audio",
        target="infinity.routes:embeddings_audio",
        summary="refused: no model here reads recordings",
    ),
    replace(INFINITY_MODELS, target="infinity.routes:list_models"),
    Row(
        name="GET /health",
        target="infinity.routes:health",
        summary="the time, if its engines turn",
    ),
)
TEI_OPENAI = replace(
    EMBEDDINGS,
    target="tei.openai:embeddings",
    summary="one vector an input, as OpenAI has it, with the errors of text-embeddings-inference",
    always=True,
    request="tei.schemas:TeiOpenAIRequest",
)
JINA = replace(
    EMBEDDINGS,
    target="jina.routes:embeddings",
    summary="one vector an input, as Jina has it",
    request="jina.schemas:JinaEmbeddingRequest",
)
ROOT = (
    EMBEDDINGS,
    INFINITY_EMBEDDINGS,
    INFINITY_IMAGES,
    COHERE_V1,
    COHERE_V2,
    POOLING,
    CLASSIFY,
    SCORE,
    SCORE.at("POST /v1/score"),
    ANY_RERANK,
    RERANK,
    COHERE_RERANK,
    TOKENIZE,
    DETOKENIZE,
    MODELS,
    INFINITY_MODELS,
    Row(
        name="GET /v1/models/{id:path}",
        target="openai.routes:show_model",
        summary="one model of this server",
        response="openai.schemas:ModelCard",
    ),
    Row(name="POST /invocations", target="vllm.routes:invocations", summary="whatever route the body is for"),
    *TEI,
)
OWN = (
    Row(
        name="POST /entities",
        target="millpond.routes:entities",
        summary="the parts of texts that are something, such as names, with their characters",
        tasks=("entities",),
        request="millpond.schemas:EntitiesRequest",
        response="millpond.schemas:EntitiesResponse",
    ),
    Row(
        name="POST /v1/represent",
        target="millpond.routes:represent",
        summary="several results of each text from one forward pass",
        tasks=("represent",),
        request="millpond.schemas:RepresentRequest",
        response="millpond.schemas:RepresentResponse",
    ),
    Row(
        name="POST /explain",
        target="millpond.explain:explain",
        summary="which tokens of a document make its score, and which terms of the vocabulary weigh most",
        tasks=("token_embed", "embed_sparse"),
        request="millpond.schemas:ExplainRequest",
        response="millpond.schemas:ExplainResponse",
    ),
)
# Where one body cannot serve two clients, each finds its own under a prefix.
DIALECTS: dict[str, tuple[Row, ...]] = {
    "vllm": (
        replace(EMBEDDINGS, target="openai.routes:embeddings_of_all", summary="one vector an input, as vLLM has it"),
        COHERE_V2,
        POOLING,
        CLASSIFY,
        SCORE,
        SCORE.at("POST /v1/score"),
        RERANK.at("POST /rerank"),
        RERANK,
        RERANK.at("POST /v2/rerank"),
        replace(
            TOKENIZE,
            target="vllm.routes:tokenize",
            request="vllm.schemas:TokenizeRequest",
            response="vllm.schemas:TokenizeResponse",
        ),
        DETOKENIZE,
        MODELS,
    ),
    "cohere": (COHERE_V1, COHERE_V2, COHERE_RERANK.at("POST /v1/rerank"), COHERE_RERANK),
    "jina": (JINA, RERANK, MODELS),
    "infinity": INFINITY,
    "tei": (
        replace(
            TEI_EMBED, target="tei.routes:embed_cut", summary="the same; `dimensions` cuts the vectors of any model"
        ),
        *TEI[1:],
        TEI_RERANK,
        TEI_TOKENIZE,
        TEI_OPENAI,
        TEI_OPENAI.at("POST /embeddings"),
        Row(name="GET /health", target="millpond.health:health", summary="whether its engines turn"),
    ),
}


def rows() -> Iterator[Row]:
    """Every route of the APIs, at the root and under the prefixes."""
    yield from ROOT
    yield from OWN
    for dialect, members in DIALECTS.items():
        for row in members:
            method, _, path = row.name.partition(" ")
            yield row.at(f"{method} /{dialect}{path}")
