"""``POST /score`` and ``POST /rerank``: queries and documents, in the words of vLLM, Cohere, Jina and Infinity."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from millpond_server.apis.common.refused import OF_SCORES, Refused
from millpond_server.apis.common.removed import WithoutRemoved
from millpond_server.apis.common.schemas import Documents, Query, TextOptions, Usage, activation, one_of

PAIRS = (("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2"))


class ScoringOptions(WithoutRemoved, TextOptions):
    """What is asked of pairs.

    Attributes:
        use_activation: Whether the activation of the model is applied to scores.
        max_tokens_per_query: Cut queries to so many tokens; 0 for no limit.
        max_tokens_per_doc: Cut documents to so many tokens; 0 for no limit.
        max_chunks_per_doc: How many chunks of a document may be read, as Cohere had it: a document is read whole, as
            one chunk, and none may be cut where this is given.
        instruction: What a reranker that takes instructions is to judge by.
        chat_template_kwargs: Further variables of the model's template.
        mixed: What becomes of a text with an image, for models that read one or the other: refused, or the mean of
            both vectors.
    """

    without_effect: ClassVar[frozenset[str]] = frozenset({"cache_salt", "multi_modal_uuids"})
    refused: ClassVar[Mapping[str, Refused]] = OF_SCORES

    use_activation: bool | None = None
    max_tokens_per_query: Annotated[int, Field(strict=True)] = 0
    max_tokens_per_doc: Annotated[int, Field(strict=True)] = 0
    max_chunks_per_doc: Annotated[int, Field(ge=1, strict=True)] | None = None
    instruction: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    mixed: Literal["error", "mean"] | None = None

    def of_pairs(self) -> dict[str, Any]:
        """What of this ``AsyncLLM.score`` takes beside the options of every call."""
        return {
            "max_tokens_per_query": self.max_tokens_per_query or None,
            "max_tokens_per_doc": self.max_tokens_per_doc or None,
            "instruction": self.instruction,
            "chat_template_kwargs": self.chat_template_kwargs,
        }


class ScoreRequest(ScoringOptions):
    """Two sides under one of four pairs of names."""

    model_config = ConfigDict(json_schema_extra=one_of(*PAIRS))

    queries: Documents = None
    documents: Documents = None
    items: Documents = None
    data_1: Documents = None
    data_2: Documents = None
    text_1: Documents = None
    text_2: Documents = None

    @property
    def sides(self) -> tuple[Any, Any]:
        """Queries and documents, by the first pair of names that is whole."""
        left, right = next(pair for pair in PAIRS if self._has(*pair))
        return getattr(self, left), getattr(self, right)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not any(self._has(*pair) for pair in PAIRS):
            pairs = ", ".join(f"`{left}` and `{right}`" for left, right in PAIRS)
            message = f"one of these pairs of fields must be given: {pairs}"
            raise ValueError(message)
        return self

    def _has(self, left: str, right: str) -> bool:
        return getattr(self, left) is not None and getattr(self, right) is not None


class ScoreItem(BaseModel):
    """The score of one pair."""

    index: int
    object: Literal["score"] = "score"
    score: float


class ScoreResponse(BaseModel):
    """The scores of all pairs, in their order."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[ScoreItem]
    usage: Usage


class RerankRequest(ScoringOptions):
    """A query and the documents that it ranks.

    Attributes:
        query: The query.
        documents: Texts, or objects that hold a text, an image, or a content of both.
        top_n: Keep so many; all where it is 0 or not given.
        return_documents: Whether documents are told with their scores.
        rank_fields: The fields of a document that are read, of those that are objects.
        raw_scores: The opposite of ``use_activation``, as Infinity has it.
    """

    query: Query
    documents: Documents
    top_n: Annotated[int, Field(ge=0, strict=True)] = 0
    return_documents: bool = True
    rank_fields: list[str] | None = None
    raw_scores: bool | None = None

    @model_validator(mode="after")
    def _in_one_voice(self) -> Self:
        if self.raw_scores is not None:
            self.use_activation = activation(self.use_activation, raw_scores=self.raw_scores)
        return self


class Document(BaseModel):
    """A document as it was given: its text, and its parts where it came as a content of such."""

    text: str | None = None
    multi_modal: Any = None


class RerankItem(BaseModel):
    """A document's place in the request, and its score."""

    index: int
    relevance_score: float
    document: Document | None = None


class RerankResponse(BaseModel):
    """The documents, best first."""

    id: str
    model: str
    usage: Usage
    results: list[RerankItem]
    meta: dict[str, Any]
