"""The routes of text-embeddings-inference: bare lists in and out."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Discriminator, Field, RootModel, Tag, WithJsonSchema, field_validator

from millpond_server.apis.common.refused import OF_CLASSES, OF_HIDDEN_STATES, OF_TEI_RANKS, Refused
from millpond_server.apis.common.schemas import TEXTS, Body, Sides, TextsOrIds
from millpond_server.apis.openai.schemas import EmbeddingRequest
from millpond_server.apis.tei.errors import check_some
from millpond_server.apis.vllm.schemas import RerankRequest, RerankResponse, TokenizeRequest, TokenizeResponse

PAIR: dict[str, Any] = {**TEXTS, "maxItems": 2}
TextsOrPairs = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, PAIR, {"type": "array", "items": PAIR}]})]


class TeiOptions(Body):
    """What is asked of each text.

    Attributes:
        truncate: Whether texts that are too long are cut.
        truncation_direction: The side they are cut from.
        prompt_name: The name of the model's prompt that is put before each text.
    """

    truncate: bool = True
    truncation_direction: Literal["left", "right", "Left", "Right"] = "right"
    prompt_name: str | None = None

    def options(self) -> dict[str, Any]:
        """What of this a call of ``AsyncLLM`` takes."""
        said: dict[str, Any] = {}
        if self.prompt_name is not None:
            said["prompt_name"] = self.prompt_name
        if self.truncate:
            said["truncate_prompt_tokens"] = -1
            said["tokenization_kwargs"] = {"truncation_side": self.truncation_direction.lower()}
        return said


class TeiVectorOptions(TeiOptions):
    """What is asked of each text that becomes vectors.

    Attributes:
        instruction: The text that is put before each text, as Mixedbread has it.
    """

    instruction: str | None = None

    def options(self) -> dict[str, Any]:
        """What of this a call of ``AsyncLLM`` takes."""
        said = super().options()
        return said if self.instruction is None else {**said, "prompt": self.instruction}


class TeiEmbedRequest(TeiVectorOptions):
    """Texts that become vectors."""

    inputs: TextsOrIds
    normalize: bool = True
    dimensions: Annotated[int, Field(ge=1)] | None = None


class TeiOpenAIRequest(EmbeddingRequest):
    """Texts that become vectors, as OpenAI has it, with the errors of text-embeddings-inference."""

    @field_validator("input", mode="before")
    @classmethod
    def _some(cls, value: Any) -> Any:
        check_some(value, "inputs")
        return value


class TeiEmbedAllRequest(TeiVectorOptions):
    """Texts whose tokens become vectors."""

    refused: ClassVar[Mapping[str, Refused]] = OF_HIDDEN_STATES

    inputs: TextsOrIds


class TeiSparseRequest(TeiVectorOptions, Sides):
    """Texts that become weights of tokens of the vocabulary.

    Attributes:
        inputs: A text, a list of texts, or token ids.
        max_active_dims: Keep the heaviest so many; all where it is not given.
    """

    inputs: TextsOrIds
    max_active_dims: Annotated[int, Field(ge=1)] | None = None


class SparseValue(BaseModel):
    """A token of the vocabulary and its weight."""

    index: int
    value: float


class SparseVectors(RootModel[list[list[SparseValue]]]):
    """The weights of each text, in the order of the texts."""


class TeiPredictRequest(TeiOptions):
    """A text, a pair of texts, or a list of either, whose classes are wanted."""

    refused: ClassVar[Mapping[str, Refused]] = OF_CLASSES

    inputs: TextsOrPairs
    raw_scores: bool = False


class TeiRerankRequest(TeiOptions):
    """A query and the texts that it ranks."""

    refused: ClassVar[Mapping[str, Refused]] = OF_TEI_RANKS

    query: str
    texts: list[str]
    raw_scores: bool = False
    return_text: bool = False


class Similarity(Body):
    """A sentence, and those that it is compared with."""

    source_sentence: str
    sentences: list[str]


class TeiSimilarityRequest(Body):
    """Sentences whose likeness is wanted."""

    inputs: Similarity
    parameters: TeiOptions = TeiOptions()


class TeiTokenizeRequest(Body):
    """Texts whose tokens are wanted."""

    inputs: str | list[str]
    add_special_tokens: bool = True
    prompt_name: str | None = None


class TeiDecodeRequest(Body):
    """Token ids whose text is wanted."""

    ids: list[int] | list[list[int]]
    skip_special_tokens: bool = True


class Rank(BaseModel):
    """A text's place in the request, and its score."""

    index: int
    score: float
    text: str | None = None


class Ranks(RootModel[list[Rank]]):
    """The texts, best first."""


def _rerank_dialect(value: Any) -> str:
    texts = value.get("texts") if isinstance(value, dict) else getattr(value, "texts", None)
    return "texts" if texts is not None else "documents"


class AnyRerankRequest(
    RootModel[
        Annotated[
            Annotated[RerankRequest, Tag("documents")] | Annotated[TeiRerankRequest, Tag("texts")],
            Discriminator(_rerank_dialect),
        ]
    ]
):
    """A query and ``documents``, as Cohere, Jina and vLLM have it; or ``texts``, as text-embeddings-inference has."""


class Vectors(RootModel[list[list[float]]]):
    """One vector a text."""


class TokenVectors(RootModel[list[list[list[float]]]]):
    """One vector a token of each text."""


class Class(BaseModel):
    """A class and what the model gives it."""

    score: float
    label: str


class Classes(RootModel[list[Class] | list[list[Class]]]):
    """The classes of a text, most probable first; or those of each of several."""


class Likenesses(RootModel[list[float]]):
    """How like each sentence is."""


class Token(BaseModel):
    """A token and its place in the text; special tokens have none."""

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
    """What ``prompt`` or ``inputs`` became."""


class AnyRerankResponse(RootModel[RerankResponse | list[Rank]]):
    """What ``documents`` or ``texts`` became."""


def _tokenize_dialect(value: Any) -> str:
    inputs = value.get("inputs") if isinstance(value, dict) else getattr(value, "inputs", None)
    return "inputs" if inputs is not None else "prompt"


class AnyTokenizeRequest(
    RootModel[
        Annotated[
            Annotated[TokenizeRequest, Tag("prompt")] | Annotated[TeiTokenizeRequest, Tag("inputs")],
            Discriminator(_tokenize_dialect),
        ]
    ]
):
    """A text under ``prompt``, or texts under ``inputs``."""
