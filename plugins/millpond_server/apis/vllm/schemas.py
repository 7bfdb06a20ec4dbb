"""Schemas of vLLM's routes, with the fields of Cohere, Jina and Infinity."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from millpond.types.params_checks import RemovedError, check_removed
from millpond_server.apis.common.schemas import (
    ITEMS_OF_TASKS,
    Body,
    Documents,
    Inputs,
    InstructionOptions,
    Query,
    QueryDocumentOptions,
    TextOptions,
    Usage,
    VectorOptions,
    require_any,
)
from millpond_server.apis.common.unsupported_fields import CLASS_FIELDS, SCORE_FIELDS, UnsupportedField
from millpond_server.http.errors import ApiError

SCORE_FIELD_PAIRS = (("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2"))


class RefuseRemovedFields(BaseModel):
    """A body that refuses the fields and tasks that vLLM has removed."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_removed(cls, value: Any) -> Any:
        try:
            check_removed(value)
        except RemovedError as error:
            raise ApiError(400, str(error), parameter=error.parameter, reason="invalid") from error
        return value


class ActivationOptions(Body):
    """The choice between activated and raw outputs.

    Attributes:
        use_activation: True to apply the model's activation, false for raw scores or logits.
        raw_scores: Infinity's opposite of ``use_activation``.
    """

    use_activation: bool | None = None
    raw_scores: bool | None = None

    @model_validator(mode="after")
    def _merge_raw_scores(self) -> Self:
        if self.raw_scores is None:
            return self
        if self.use_activation is self.raw_scores:
            message = (
                f"use_activation={self.use_activation} and raw_scores={self.raw_scores} disagree: pass one of them"
            )
            raise ValueError(message)
        self.use_activation = not self.raw_scores
        return self


class ScoringOptions(RefuseRemovedFields, TextOptions):
    """Options of pairs.

    Attributes:
        use_activation: True to apply the model's activation to scores.
        max_tokens_per_query: Maximum number of tokens of a query; longer ones are truncated, 0 for no limit.
        max_tokens_per_doc: Maximum number of tokens of a document; longer ones are truncated, 0 for no limit.
        max_chunks_per_doc: An old field of Cohere. Documents are read as one chunk; with this field, a request whose
            texts would be truncated is refused.
        instruction: The instruction for a reranker that accepts instructions.
        chat_template_kwargs: Additional variables of the chat template.
        mixed: For a text with an image and a model that reads them separately: "error", or "mean" for the mean of
            both vectors.
    """

    without_effect: ClassVar[frozenset[str]] = frozenset({"cache_salt", "multi_modal_uuids"})
    unsupported: ClassVar[Mapping[str, UnsupportedField]] = SCORE_FIELDS

    use_activation: bool | None = None
    max_tokens_per_query: Annotated[int, Field(strict=True)] = 0
    max_tokens_per_doc: Annotated[int, Field(strict=True)] = 0
    max_chunks_per_doc: Annotated[int, Field(ge=1, strict=True)] | None = None
    instruction: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    mixed: Literal["error", "mean"] | None = None

    def score_options(self) -> dict[str, Any]:
        """Return the keyword arguments of ``AsyncLLM.score`` that other methods do not have."""
        return {
            "max_tokens_per_query": self.max_tokens_per_query or None,
            "max_tokens_per_doc": self.max_tokens_per_doc or None,
            "instruction": self.instruction,
            "chat_template_kwargs": self.chat_template_kwargs,
        }


class ScoreRequest(ScoringOptions):
    """Queries and documents, in one of four pairs of fields."""

    model_config = ConfigDict(json_schema_extra=require_any(*SCORE_FIELD_PAIRS))

    queries: Documents = None
    documents: Documents = None
    items: Documents = None
    data_1: Documents = None
    data_2: Documents = None
    text_1: Documents = None
    text_2: Documents = None

    @property
    def queries_and_documents(self) -> tuple[Any, Any]:
        """The queries and documents of the first complete pair of fields."""
        left, right = next(pair for pair in SCORE_FIELD_PAIRS if self._has(*pair))
        return getattr(self, left), getattr(self, right)

    @model_validator(mode="after")
    def _has_a_pair(self) -> Self:
        if not any(self._has(*pair) for pair in SCORE_FIELD_PAIRS):
            pairs = ", ".join(f"`{left}` and `{right}`" for left, right in SCORE_FIELD_PAIRS)
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
    """The scores of all pairs, in the order of the request."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[ScoreItem]
    usage: Usage


class RerankRequest(ScoringOptions, ActivationOptions):
    """A query and the documents to rank.

    Attributes:
        query: The query.
        documents: Texts, or objects with a text, an image, or a content of both.
        top_n: Number of documents to return (default: 0, all).
        return_documents: True to return the documents with their scores.
        rank_fields: The fields to read of documents that are objects.
    """

    query: Query
    documents: Documents
    top_n: Annotated[int, Field(ge=0, strict=True)] = 0
    return_documents: bool = True
    rank_fields: list[str] | None = None


class Document(BaseModel):
    """A document of the request: its text, and its parts if it has a content of parts."""

    text: str | None = None
    multi_modal: Any = None


class RerankItem(BaseModel):
    """The index of a document in the request, and its score."""

    index: int
    relevance_score: float
    document: Document | None = None


class RerankResponse(BaseModel):
    """The documents, most relevant first."""

    id: str
    model: str
    usage: Usage
    results: list[RerankItem]
    meta: dict[str, Any]


class ClassificationRequest(RefuseRemovedFields, TextOptions, Inputs, ActivationOptions):
    """Texts or token ids to classify."""

    without_effect: ClassVar[frozenset[str]] = frozenset({"cache_salt", "multi_modal_uuids"})
    unsupported: ClassVar[Mapping[str, UnsupportedField]] = CLASS_FIELDS


class ClassificationItem(BaseModel):
    """The classes of one text."""

    index: int
    label: str | None
    probs: list[float]
    num_classes: int


class ClassificationResponse(BaseModel):
    """The classes of all texts, in the order of the request."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[ClassificationItem]
    usage: Usage


class PoolingRequest(RefuseRemovedFields, InstructionOptions, VectorOptions, QueryDocumentOptions, Inputs):
    """Texts, token ids, conversations, or the data of a plugin's task.

    Attributes:
        data: An object, or a list, for a task that reads objects; any value for the model's IO processor plugin.
        task: The pooling task (default: the model's task).
        pool_factor: The factor by which the number of token vectors is reduced; similar vectors are merged.
        extra_kwargs: Additional options of the task, such as those of a plugin's task.
    """

    model_config = ConfigDict(json_schema_extra=require_any(("input",), ("messages",), ("data",)))

    data: Annotated[Any, Field(json_schema_extra={ITEMS_OF_TASKS: True})] = None
    task: str | None = None
    pool_factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    extra_kwargs: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        values = [value for value in (self.input, self.messages, self.data) if value is not None]
        if len(values) != 1:
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
    """The results, in the order of the inputs."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[PoolingItem]
    usage: Usage


class TokenizeRequest(Body):
    """A text or a conversation to tokenize.

    Attributes:
        model: The name of the model (default: the first model of the server).
        prompt: The text.
        messages: A conversation, instead of `prompt`; images are represented by placeholder tokens.
        add_special_tokens: True to add special tokens (default: true for a text, false for a conversation).
        return_token_strs: True to return the tokens as text too.
        add_generation_prompt: True if the chat template starts a response of the assistant (default: the opposite of
            `continue_final_message`).
        continue_final_message: True if the last message is not closed.
        chat_template: A chat template; needs `--trust-request-chat-template`.
        chat_template_kwargs: Additional variables of the chat template.
        mm_processor_kwargs: Options of images, such as a smaller maximum size.
    """

    model_config = ConfigDict(json_schema_extra=require_any(("prompt",), ("messages",)))

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
        """The messages in the format of other routes."""
        add_generation_prompt = self.add_generation_prompt
        if add_generation_prompt is None:
            add_generation_prompt = not self.continue_final_message
        return Inputs(
            messages=self.messages,
            add_special_tokens=self.add_special_tokens,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=self.continue_final_message,
            chat_template=self.chat_template,
            chat_template_kwargs=self.chat_template_kwargs,
            mm_processor_kwargs=self.mm_processor_kwargs,
        )


class TokenizeResponse(BaseModel):
    """The token ids of a text or a conversation."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class DetokenizeRequest(Body):
    """Token ids to convert to text."""

    model: str | None = None
    tokens: list[Annotated[int, Field(ge=0, lt=2**63, strict=True)]]


class DetokenizeResponse(BaseModel):
    """The text of token ids."""

    prompt: str
