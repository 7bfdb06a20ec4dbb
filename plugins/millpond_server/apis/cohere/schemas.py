"""Schemas of Cohere's ``POST /v1/embed`` and ``POST /v2/embed``."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from millpond_server.apis.common.schemas import SpaceOptions
from millpond_server.apis.common.unsupported_fields import UnsupportedField
from millpond_server.apis.openai.schemas import EmbeddingType

WRONG_NUMBER_OF_FIELDS = "Exactly one of texts, images, or inputs must be provided, and it must be non-empty"


class CohereEmbedRequest(SpaceOptions):
    """Texts or images to embed.

    Attributes:
        model: The name of the model (default: the first model of the server).
        input_type: The purpose of the texts; selects the model's prompt of that name or meaning.
        texts: The texts.
        images: URLs of images, usually data: URLs; refused by models that read text only.
        inputs: Contents with texts and images as parts.
        output_dimension: Number of dimensions to keep.
        embedding_types: The types of the vectors.
        truncate: The side from which long texts are truncated; NONE refuses them.
        max_tokens: Maximum number of tokens of a text (default: the model's maximum).
        priority: Requests with lower values are served first.
        mixed: For an item of ``inputs`` with a text and an image, and a model that reads them separately: "mean" for
            the mean of both vectors (default), or "error".
    """

    unsupported: ClassVar[Mapping[str, UnsupportedField]] = {
        "instruction": UnsupportedField(
            "pass input_type, which selects a prompt of the model; POST /v1/embeddings accepts any instruction"
        ),
    }

    model: str | None = None
    input_type: str | None = None
    texts: list[str] | None = None
    images: list[str] | None = None
    inputs: list[dict[str, Any]] | None = None
    output_dimension: Annotated[int, Field(ge=1)] | None = None
    embedding_types: list[EmbeddingType] | None = None
    truncate: Literal["NONE", "START", "END"] = "END"
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    priority: Annotated[int, Field(ge=0, le=999)] = 0
    mixed: Literal["error", "mean"] | None = None

    @field_validator("truncate", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_of_three(self) -> Self:
        values = [value for value in (self.texts, self.images, self.inputs) if value]
        if len(values) != 1:
            raise ValueError(WRONG_NUMBER_OF_FIELDS)
        return self


class CohereEmbedResponse(BaseModel):
    """Vectors by their types, or a list of vectors."""

    id: str
    embeddings: dict[str, list[Any]] | list[list[float]]
    texts: list[str] = []
    meta: dict[str, Any]
    response_type: Literal["embeddings_by_type", "embeddings_floats"]
