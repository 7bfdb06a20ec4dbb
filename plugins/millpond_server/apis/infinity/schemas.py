"""Schemas of Infinity's routes that differ from those of other APIs."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field, field_validator

from millpond_server.apis.common.schemas import Inputs, TextOptions
from millpond_server.apis.common.unsupported_fields import CLASS_FIELDS, UnsupportedField
from millpond_server.apis.openai.schemas import EmbeddingRequest, ModelCard
from millpond_server.apis.vllm.schemas import ScoringOptions

MAX_TEXT_CHARS = 122_880  # Infinity's limit
Text = Annotated[str, Field(max_length=MAX_TEXT_CHARS)]


class InfinityEmbeddingRequest(EmbeddingRequest):
    """Texts, token ids or images to embed; 0 dimensions, the default of Infinity's client, means all."""

    @field_validator("dimensions", "output_dimension", mode="before")
    @classmethod
    def _zero_is_all(cls, value: Any) -> Any:
        return None if value == 0 and isinstance(value, int) and not isinstance(value, bool) else value


class InfinityInputs(Inputs):
    """Inputs with Infinity's validation."""

    @field_validator("input", mode="before")
    @classmethod
    def _is_not_empty(cls, value: Any) -> Any:
        items = value if isinstance(value, list) else [value]
        if not items:
            message = "at least one item is needed"
            raise ValueError(message)
        if not all(isinstance(item, str | int | list | dict) and not isinstance(item, bool) for item in items):
            message = "must be a text, or a list of texts"
            raise ValueError(message)
        return value


class InfinityTextsRequest(InfinityEmbeddingRequest, InfinityInputs):
    """Texts, token ids or images to embed; long texts are truncated, and texts over Infinity's limit are refused."""

    @field_validator("input", mode="after")
    @classmethod
    def _is_within_limit(cls, value: Any) -> Any:
        items = value if isinstance(value, list) else [value]
        texts = (item for item in items if isinstance(item, str) and item[:5].lower() != "data:")
        if any(len(text) > MAX_TEXT_CHARS for text in texts):
            message = f"a text may have at most {MAX_TEXT_CHARS} characters"
            raise ValueError(message)
        return value


class InfinityRerankRequest(ScoringOptions):
    """A query and the documents to rank."""

    query: Text
    documents: Annotated[list[Text], Field(min_length=1)]
    return_documents: bool = False
    raw_scores: bool = False
    top_n: Annotated[int, Field(ge=1)] | None = None


class InfinityClassifyRequest(TextOptions, InfinityInputs):
    """Texts to classify."""

    unsupported: ClassVar[Mapping[str, UnsupportedField]] = CLASS_FIELDS

    raw_scores: bool = False


class InfinityModelCard(ModelCard):
    """A model and its capabilities."""

    owned_by: str = "infinity"
    backend: str = "torch"
    capabilities: list[str]


class InfinityModelList(BaseModel):
    """All models, the default one first."""

    object: Literal["list"] = "list"
    data: list[InfinityModelCard]


def usage(tokens: int) -> dict[str, Any]:
    """Return the token usage in Infinity's format."""
    return {"prompt_tokens": tokens, "total_tokens": tokens}
