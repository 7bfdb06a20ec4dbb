"""Schemas of ``POST /v1/represent``, ``POST /explain`` and ``POST /entities``."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from millpond_server.apis.common.schemas import (
    Body,
    Inputs,
    InstructionOptions,
    QueryDocumentOptions,
    TextOptions,
    Usage,
)
from millpond_server.apis.openai.schemas import EmbeddingType


class RepresentationOptions(Body):
    """Options of one representation of each text.

    Attributes:
        task: The pooling task.
        dimensions: Number of dimensions to keep.
        use_activation: True for normalized vectors or probabilities.
        embedding_types: The types of the values; not used for sparse vectors.
        max_active_dims: Maximum number of weights of a sparse vector; the largest are kept.
    """

    task: str
    dimensions: Annotated[int, Field(ge=1, strict=True)] | None = None
    use_activation: bool | None = None
    embedding_types: tuple[EmbeddingType, ...] = Field(default=("float",), min_length=1)
    max_active_dims: Annotated[int, Field(ge=1, strict=True)] | None = None

    def as_task(self) -> dict[str, Any]:
        """Return the options in the format of ``AsyncLLM.represent``."""
        extra = None if self.max_active_dims is None else {"max_active_dims": self.max_active_dims}
        return {**self.model_dump(exclude={"embedding_types", "max_active_dims"}), "extra_kwargs": extra}


class RepresentRequest(InstructionOptions, Inputs, QueryDocumentOptions):
    """Texts, and the representations of each text to compute in one forward pass.

    Attributes:
        representations: The representations of each text.
        return_tokens: True to return the token ids and tokens.
    """

    representations: Annotated[list[RepresentationOptions], Field(min_length=1, max_length=32)]
    return_tokens: bool = False


class Representation(BaseModel):
    """One representation of a text. For a sparse vector, ``embeddings`` is ``{"sparse": {"indices", "values"}}``."""

    task: str
    shape: list[int]
    embeddings: dict[str, Any]


class RepresentItem(BaseModel):
    """All representations of a text."""

    index: int
    representations: list[Representation]
    num_tokens: int
    truncated: bool
    num_dropped_tokens: int
    token_ids: list[int] | None = None
    tokens: list[str] | None = None


class RepresentResponse(BaseModel):
    """The representations of all texts, in the order of the request."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[RepresentItem]
    usage: Usage


class ExplainRequest(Body):
    """A query and the documents whose scores are to be explained.

    Attributes:
        model: The name of the model (default: the first model of the server).
        query: The query.
        documents: The documents.
        truncate_prompt_tokens: Maximum number of tokens of each text; -1 for the model's maximum.
        top_terms: Maximum number of terms of each text.
        return_similarities: True to return the similarities of all tokens.
    """

    model: str | None = None
    query: str
    documents: Annotated[list[str], Field(min_length=1, max_length=64)]
    truncate_prompt_tokens: Annotated[int, Field(ge=-1, strict=True)] | None = None
    top_terms: Annotated[int, Field(ge=1, le=1000, strict=True)] = 10
    return_similarities: bool = False


class Match(BaseModel):
    """A token of the query and its best match in the document.

    Indices and tokens are None for a vector of several tokens.
    """

    query_index: int | None
    query_token: str | None
    document_index: int | None
    document_token: str | None
    similarity: float


class Term(BaseModel):
    """A token of the vocabulary and its weight."""

    token_id: int
    token: str
    weight: float


class Explanation(BaseModel):
    """The explanation of a document's score.

    Attributes:
        index: The index of the document in the request.
        score: MaxSim; for a model with only sparse vectors, their dot product.
        matches: The best match for each token of the query.
        terms: The terms of the document with the largest weights.
        shared: The terms of both the query and the document, with their contributions to the dot product.
        query_tokens: With ``return_similarities``, the token of each vector of the query.
        document_tokens: With ``return_similarities``, the token of each vector of the document.
        similarities: With ``return_similarities``, the similarity of each token of the query to each token of the
            document. [query tokens, document tokens]
    """

    index: int
    score: float
    matches: list[Match]
    terms: list[Term] | None = None
    shared: list[Term] | None = None
    query_tokens: list[str | None] | None = None
    document_tokens: list[str | None] | None = None
    similarities: list[list[float]] | None = None


class ExplainResponse(BaseModel):
    """The explanations of all documents, in the order of the request."""

    id: str
    object: Literal["list"] = "list"
    model: str
    data: list[Explanation]
    query_terms: list[Term] | None = None
    usage: Usage


class EntitiesRequest(TextOptions, Inputs):
    """Texts to find entities in.

    Attributes:
        aggregation: The strategy for combining tokens into entities, as in transformers.
        ignore_labels: Labels to omit.
    """

    aggregation: Literal["none", "simple", "first", "average", "max"] = "simple"
    ignore_labels: tuple[str, ...] = ("O",)


class EntityItem(BaseModel):
    """An entity. ``token`` is the index of its token with the aggregation "none", else None."""

    label: str
    score: float
    start: int
    end: int
    text: str
    word: str
    token: int | None = None


class EntitiesItem(BaseModel):
    """The entities of a text."""

    index: int
    entities: list[EntityItem]


class EntitiesResponse(BaseModel):
    """The entities of all texts, in the order of the request."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[EntitiesItem]
    usage: Usage
