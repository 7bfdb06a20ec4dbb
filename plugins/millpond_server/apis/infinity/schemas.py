"""The routes of Infinity, where they are not those of others."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field, field_validator

from millpond_server.apis.common.refused import OF_CLASSES, Refused
from millpond_server.apis.common.schemas import Inputs, TextOptions
from millpond_server.apis.openai.schemas import EmbeddingRequest, ModelCard
from millpond_server.apis.vllm.schemas import ScoringOptions

LONGEST = 122_880  # characters of a text, as Infinity has it
Text = Annotated[str, Field(max_length=LONGEST)]


class InfinityEmbeddingRequest(EmbeddingRequest):
    """Texts, token ids or images that become vectors; 0 dimensions are all, as Infinity's client says by default."""

    @field_validator("dimensions", "output_dimension", mode="before")
    @classmethod
    def _all(cls, value: Any) -> Any:
        return None if value == 0 and isinstance(value, int) and not isinstance(value, bool) else value


class InfinityInputs(Inputs):
    """Inputs as Infinity has them, of which some are refused that are cut elsewhere."""

    @field_validator("input", mode="before")
    @classmethod
    def _is_some(cls, value: Any) -> Any:
        items = value if isinstance(value, list) else [value]
        if not items:
            message = "at least one item is needed"
            raise ValueError(message)
        if not all(isinstance(item, str | int | list | dict) and not isinstance(item, bool) for item in items):
            message = "must be a text, or a list of texts"
            raise ValueError(message)
        return value


class InfinityTextsRequest(InfinityEmbeddingRequest, InfinityInputs):
    """Texts, token ids or images that become vectors; what is too long is cut, and what is far too long refused."""

    @field_validator("input", mode="after")
    @classmethod
    def _has_a_bound(cls, value: Any) -> Any:
        items = value if isinstance(value, list) else [value]
        if any(isinstance(item, str) and len(item) > LONGEST and not item.startswith("data:") for item in items):
            message = f"a text has {LONGEST} characters at most"
            raise ValueError(message)
        return value


class InfinityRerankRequest(ScoringOptions):
    """A query and the documents that it ranks."""

    query: Text
    documents: Annotated[list[Text], Field(min_length=1)]
    return_documents: bool = False
    raw_scores: bool = False
    top_n: Annotated[int, Field(ge=1)] | None = None


class InfinityClassifyRequest(TextOptions, InfinityInputs):
    """Texts whose classes are wanted."""

    refused: ClassVar[Mapping[str, Refused]] = OF_CLASSES

    raw_scores: bool = False


class InfinityModelCard(ModelCard):
    """One model, and what it serves by Infinity's names."""

    owned_by: str = "infinity"
    backend: str = "torch"
    capabilities: list[str]


class InfinityModelList(BaseModel):
    """All models, the default one first."""

    object: Literal["list"] = "list"
    data: list[InfinityModelCard]


def usage(tokens: int) -> dict[str, Any]:
    """The tokens that were read."""
    return {"prompt_tokens": tokens, "total_tokens": tokens}
