"""The requests and answers of ``POST /v1/represent``, ``POST /explain`` and ``POST /entities``."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from millpond_server.apis.common.schemas import Body, Inputs, Sides, TextOptions, Usage, WithInstruction
from millpond_server.apis.openai.schemas import Kind


class Wanted(Body):
    """One result that is wanted of each text.

    Attributes:
        task: The pooling task.
        dimensions: Keep the first so many dimensions.
        use_activation: Whether vectors are normalised, or probabilities given.
        embedding_types: The kinds of numbers that are wanted; of sparse vectors there is one kind.
        max_active_dims: Of sparse vectors, keep the heaviest so many.
    """

    task: str
    dimensions: Annotated[int, Field(ge=1, strict=True)] | None = None
    use_activation: bool | None = None
    embedding_types: tuple[Kind, ...] = Field(default=("float",), min_length=1)
    max_active_dims: Annotated[int, Field(ge=1, strict=True)] | None = None

    def fields(self) -> dict[str, Any]:
        """What of this ``AsyncLLM.represent`` takes."""
        extra = None if self.max_active_dims is None else {"max_active_dims": self.max_active_dims}
        return {**self.model_dump(exclude={"embedding_types", "max_active_dims"}), "extra_kwargs": extra}


class RepresentRequest(WithInstruction, Inputs, Sides):
    """Texts of which several results are wanted, from one forward pass.

    Attributes:
        representations: What is wanted of each.
        return_tokens: Whether the ids and the tokens that were read are told.
    """

    representations: Annotated[list[Wanted], Field(min_length=1, max_length=32)]
    return_tokens: bool = False


class Represented(BaseModel):
    """One result of one text; of a sparse vector, ``embeddings`` holds ``{"sparse": {"indices", "values"}}``."""

    task: str
    shape: list[int]
    embeddings: dict[str, Any]


class RepresentItem(BaseModel):
    """All results of one text."""

    index: int
    representations: list[Represented]
    num_tokens: int
    truncated: bool
    num_dropped_tokens: int
    token_ids: list[int] | None = None
    tokens: list[str] | None = None


class RepresentResponse(BaseModel):
    """The results of all texts, in their order."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[RepresentItem]
    usage: Usage


class ExplainRequest(Body):
    """A query and the documents whose likeness to it is to be explained; ``top_terms`` of each are told."""

    model: str | None = None
    query: str
    documents: Annotated[list[str], Field(min_length=1, max_length=64)]
    truncate_prompt_tokens: Annotated[int, Field(ge=-1, strict=True)] | None = None
    top_terms: Annotated[int, Field(ge=1, le=1000, strict=True)] = 10


class Match(BaseModel):
    """A token of the query, and the token of the document that it fits best; None where a vector is of several."""

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
    """Why a document has its score.

    Attributes:
        index: Its place in the request.
        score: MaxSim; where the model has sparse vectors alone, the product of those of query and document.
        matches: For each token of the query, the token of the document that it fits best.
        terms: The heaviest of its terms.
        shared: The terms that it has in common with the query, by what they add to the product of both.
    """

    index: int
    score: float
    matches: list[Match]
    terms: list[Term] | None = None
    shared: list[Term] | None = None


class ExplainResponse(BaseModel):
    """The explanations of all documents, in their order."""

    id: str
    object: Literal["list"] = "list"
    model: str
    data: list[Explanation]
    query_terms: list[Term] | None = None
    usage: Usage


class EntitiesRequest(TextOptions, Inputs):
    """Texts whose entities are wanted.

    Attributes:
        aggregation: How tokens become entities.
        ignore_labels: The kinds that are left out.
    """

    aggregation: Literal["none", "simple", "first", "average", "max"] = "simple"
    ignore_labels: tuple[str, ...] = ("O",)


class FoundEntity(BaseModel):
    """A part of a text that is of one kind; ``token`` is the place of a token, where these are told one by one."""

    label: str
    score: float
    start: int
    end: int
    text: str
    word: str
    token: int | None = None


class EntitiesItem(BaseModel):
    """The entities of one text."""

    index: int
    entities: list[FoundEntity]


class EntitiesResponse(BaseModel):
    """The entities of all texts, in their order."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[EntitiesItem]
    usage: Usage
