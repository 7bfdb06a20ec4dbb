"""The requests and answers of vLLM's routes, in the words of vLLM, Cohere, Jina and Infinity."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from millpond.compat.removed import RemovedError, check_removed
from millpond_server.apis.common.refused import OF_CLASSES, OF_SCORES, Refused
from millpond_server.apis.common.schemas import (
    Body,
    Documents,
    Inputs,
    Query,
    Sides,
    TextOptions,
    Usage,
    VectorOptions,
    WithInstruction,
    activation,
    one_of,
)
from millpond_server.http.errors import ApiError

PAIRS = (("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2"))


class WithoutRemoved(BaseModel):
    """A body that may not have the fields and tasks that vLLM removed."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_removed(cls, value: Any) -> Any:
        try:
            check_removed(value)
        except RemovedError as error:
            raise ApiError(400, str(error), parameter=error.parameter, reason="invalid") from error
        return value


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


class ClassificationRequest(WithoutRemoved, TextOptions, Inputs):
    """Texts or token ids whose classes are wanted.

    Attributes:
        use_activation: Whether probabilities are given; else logits.
        raw_scores: The opposite, as Infinity has it.
    """

    without_effect: ClassVar[frozenset[str]] = frozenset({"cache_salt", "multi_modal_uuids"})
    refused: ClassVar[Mapping[str, Refused]] = OF_CLASSES

    use_activation: bool | None = None
    raw_scores: bool | None = None

    @model_validator(mode="after")
    def _in_one_voice(self) -> Self:
        if self.raw_scores is not None:
            self.use_activation = activation(self.use_activation, raw_scores=self.raw_scores)
        return self


class ClassificationItem(BaseModel):
    """The classes of one text."""

    index: int
    label: str | None
    probs: list[float]
    num_classes: int


class ClassificationResponse(BaseModel):
    """The classes of all texts, in their order."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[ClassificationItem]
    usage: Usage


class LateChunking(BaseModel):
    """The number of tokens of a chunk."""

    model_config = ConfigDict(extra="forbid")

    chunk_size: Annotated[int, Field(strict=True)]


class PoolingRequest(WithoutRemoved, WithInstruction, VectorOptions, Sides, Inputs):
    """Texts, token ids, conversations, or data of a plugin.

    Attributes:
        data: What only the IO processor plugin of the model reads.
        task: The pooling task; the model's own where none is given.
        pool_factor: Of vectors of tokens, how many times fewer they become: those of tokens that mean alike become one.
        late_chunking_params: Of ``token_embed``: one vector for each chunk of N tokens of a text.
        extra_kwargs: Options of the task by name, such as those of a plugin's task.
    """

    model_config = ConfigDict(json_schema_extra=one_of(("input",), ("messages",), ("data",)))

    data: Any = None
    task: str | None = None
    pool_factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    late_chunking_params: LateChunking | None = None
    extra_kwargs: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        given = [value for value in (self.input, self.messages, self.data) if value is not None]
        if len(given) != 1:
            message = "exactly one of `input`, `messages` and `data` must be given"
            raise ValueError(message)
        return self


class PoolingItem(BaseModel):
    """One result."""

    index: int
    object: Literal["pooling"] = "pooling"
    data: list[Any] | str
    late_chunking: dict[str, Any] | None = None


class PoolingResponse(BaseModel):
    """All results, in the order of the inputs."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[PoolingItem]
    usage: Usage


class TokenizeRequest(Body):
    """A text, or a conversation, whose tokens are wanted.

    Attributes:
        model: The name of the model; the server's first where none is given.
        prompt: The text.
        messages: Instead: a conversation; of its images, the tokens whose places they take.
        add_special_tokens: Whether special tokens are added; by default to a text, and not to what a template writes.
        return_token_strs: Whether the tokens are told as text too.
        add_generation_prompt: Whether the template of a conversation opens an answer; by default it does, unless its
            last message is left open.
        continue_final_message: Whether the last message is left open.
        chat_template: A template; refused, unless the server takes those of requests.
        chat_template_kwargs: Further variables of the model's template.
        mm_processor_kwargs: How much smaller images are read than the model was loaded to read them.
    """

    model_config = ConfigDict(json_schema_extra=one_of(("prompt",), ("messages",)))

    model: str | None = None
    prompt: str | None = None
    messages: list[Any] | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool = False
    add_generation_prompt: bool | None = None
    continue_final_message: bool = False
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    mm_processor_kwargs: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            message = "one of `prompt` and `messages` must be given"
            raise ValueError(message)
        if self.messages == []:
            message = "You must pass at least one message"
            raise ValueError(message)
        return self

    @property
    def conversation(self) -> Inputs:
        """The messages as other routes take them."""
        opens = not self.continue_final_message if self.add_generation_prompt is None else self.add_generation_prompt
        return Inputs(
            messages=self.messages,
            add_special_tokens=self.add_special_tokens,
            add_generation_prompt=opens,
            continue_final_message=self.continue_final_message,
            chat_template=self.chat_template,
            chat_template_kwargs=self.chat_template_kwargs,
            mm_processor_kwargs=self.mm_processor_kwargs,
        )


class TokenizeResponse(BaseModel):
    """Its tokens."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class DetokenizeRequest(Body):
    """Tokens whose text is wanted."""

    model: str | None = None
    tokens: list[Annotated[int, Field(ge=0, lt=2**63, strict=True)]]


class DetokenizeResponse(BaseModel):
    """Their text."""

    prompt: str
