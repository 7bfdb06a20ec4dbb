"""Schemas of text-embeddings-inference's routes, whose responses are lists."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Discriminator, Field, RootModel, Tag, WithJsonSchema, field_validator

from millpond_server.apis.common.schemas import TEXTS, Body, QueryDocumentOptions, SpaceOptions, TextsOrIds
from millpond_server.apis.common.unsupported_fields import (
    CLASS_FIELDS,
    HIDDEN_STATE_FIELDS,
    TEI_RERANK_FIELDS,
    UnsupportedField,
)
from millpond_server.apis.openai.schemas import EmbeddingRequest
from millpond_server.apis.tei.errors import check_not_empty_list
from millpond_server.apis.vllm.schemas import RerankRequest, RerankResponse, TokenizeRequest, TokenizeResponse

PAIR: dict[str, Any] = {**TEXTS, "maxItems": 2}
TextsOrPairs = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, PAIR, {"type": "array", "items": PAIR}]})]


class TeiOptions(Body):
    """Options of each text.

    Attributes:
        truncate: True to truncate texts that are too long.
        truncation_direction: The side from which tokens are removed.
        prompt_name: The name of the model's prompt to prepend to each text.
    """

    truncate: bool = True
    truncation_direction: Literal["left", "right", "Left", "Right"] = "right"
    prompt_name: str | None = None

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments of ``AsyncLLM``."""
        options: dict[str, Any] = {}
        if self.prompt_name is not None:
            options["prompt_name"] = self.prompt_name
        if self.truncate:
            options["truncate_prompt_tokens"] = -1
            options["tokenization_kwargs"] = {"truncation_side": self.truncation_direction.lower()}
        return options


class TeiVectorOptions(SpaceOptions, TeiOptions):
    """Options of each text to embed.

    Attributes:
        instruction: Mixedbread's name of the prompt to prepend to each text.
    """

    instruction: str | None = None

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments of ``AsyncLLM``."""
        options = super().options()
        return options if self.instruction is None else {**options, "prompt": self.instruction}


class TeiEmbedRequest(TeiVectorOptions):
    """Texts to embed."""

    inputs: TextsOrIds
    normalize: bool = True
    dimensions: Annotated[int, Field(ge=1)] | None = None


class TeiOpenAIRequest(EmbeddingRequest):
    """Texts to embed in OpenAI's format, with the errors of text-embeddings-inference."""

    @field_validator("input", mode="before")
    @classmethod
    def _is_not_empty_list(cls, value: Any) -> Any:
        check_not_empty_list(value, "inputs")
        return value


class TeiEmbedAllRequest(TeiVectorOptions):
    """Texts to embed with one vector per token."""

    unsupported: ClassVar[Mapping[str, UnsupportedField]] = HIDDEN_STATE_FIELDS

    inputs: TextsOrIds


class TeiSparseRequest(TeiVectorOptions, QueryDocumentOptions):
    """Texts to embed with sparse vectors: weights of tokens of the vocabulary.

    Attributes:
        inputs: A text, a list of texts, or token ids.
        max_active_dims: Number of weights to keep, the largest ones (default: all).
    """

    inputs: TextsOrIds
    max_active_dims: Annotated[int, Field(ge=1)] | None = None


class SparseValue(BaseModel):
    """A token of the vocabulary and its weight."""

    index: int
    value: float


class SparseVectors(RootModel[list[list[SparseValue]]]):
    """The weights of each text, in the order of the request."""


class TeiPredictRequest(TeiOptions):
    """A text, a pair of texts, or a list of texts and pairs to classify."""

    unsupported: ClassVar[Mapping[str, UnsupportedField]] = CLASS_FIELDS

    inputs: TextsOrPairs
    raw_scores: bool = False


class TeiRerankRequest(TeiOptions):
    """A query and the texts to rank."""

    unsupported: ClassVar[Mapping[str, UnsupportedField]] = TEI_RERANK_FIELDS

    query: str
    texts: list[str]
    raw_scores: bool = False
    return_text: bool = False


class Similarity(Body):
    """A sentence, and the sentences to compare it with."""

    source_sentence: str
    sentences: list[str]


class TeiSimilarityRequest(Body):
    """Sentences to compare."""

    inputs: Similarity
    parameters: TeiOptions = TeiOptions()


class TeiTokenizeRequest(Body):
    """Texts to tokenize."""

    inputs: str | list[str]
    add_special_tokens: bool = True
    prompt_name: str | None = None


class TeiDecodeRequest(Body):
    """Token ids to convert to text."""

    ids: list[int] | list[list[int]]
    skip_special_tokens: bool = True


class Rank(BaseModel):
    """The index of a text in the request, and its score."""

    index: int
    score: float
    text: str | None = None


class Ranks(RootModel[list[Rank]]):
    """The texts, most relevant first."""


def _rerank_api(value: Any) -> str:
    texts = value.get("texts") if isinstance(value, dict) else getattr(value, "texts", None)
    return "texts" if texts is not None else "documents"


class AnyRerankRequest(
    RootModel[
        Annotated[
            Annotated[RerankRequest, Tag("documents")] | Annotated[TeiRerankRequest, Tag("texts")],
            Discriminator(_rerank_api),
        ]
    ]
):
    """A query with ``documents`` (Cohere, Jina and vLLM) or ``texts`` (text-embeddings-inference)."""


class Vectors(RootModel[list[list[float]]]):
    """One vector per text."""


class TokenVectors(RootModel[list[list[list[float]]]]):
    """One vector per token, for each text."""


class Class(BaseModel):
    """A class and its score."""

    score: float
    label: str


class Classes(RootModel[list[Class] | list[list[Class]]]):
    """The classes of a text, most probable first; or a list of classes per text."""


class Similarities(RootModel[list[float]]):
    """The similarity of each sentence."""


class Token(BaseModel):
    """A token and its position in the text; special tokens have no position."""

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class Tokens(RootModel[list[list[Token]]]):
    """The tokens of each text."""


class Texts(RootModel[list[str]]):
    """The text of each list of token ids."""


class AnyTokenizeResponse(RootModel[TokenizeResponse | list[list[Token]]]):
    """The response for ``prompt`` or ``inputs``."""


class AnyRerankResponse(RootModel[RerankResponse | list[Rank]]):
    """The response for ``documents`` or ``texts``."""


def _tokenize_api(value: Any) -> str:
    inputs = value.get("inputs") if isinstance(value, dict) else getattr(value, "inputs", None)
    return "inputs" if inputs is not None else "prompt"


class AnyTokenizeRequest(
    RootModel[
        Annotated[
            Annotated[TokenizeRequest, Tag("prompt")] | Annotated[TeiTokenizeRequest, Tag("inputs")],
            Discriminator(_tokenize_api),
        ]
    ]
):
    """A text in ``prompt`` (vLLM), or texts in ``inputs`` (text-embeddings-inference)."""
