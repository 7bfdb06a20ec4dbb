"""``POST /v1/embed`` and ``POST /v2/embed``, as Cohere has them."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from millpond_server.apis.common.refused import Refused
from millpond_server.apis.common.schemas import Body
from millpond_server.apis.openai.schemas import Kind

ONE_OF_THREE = "Exactly one of texts, images, or inputs must be provided, and it must be non-empty"


class CohereEmbedRequest(Body):
    """Texts that become vectors.

    Attributes:
        model: The name of the model; the server's first where none is given.
        input_type: What the texts are for: the model's prompt of that name, or of that meaning, is put before them.
        texts: The texts.
        images: Images as URLs, most often data: URLs; models of text refuse them.
        inputs: Texts and images as parts of contents.
        output_dimension: Keep the first so many dimensions.
        embedding_types: The kinds of vectors that are wanted.
        truncate: The side that texts which are too long are cut from; NONE refuses them.
        max_tokens: The most tokens of a text, where it is less than the model's.
        priority: A lower one is served first.
        mixed: What becomes of one of ``inputs`` with a text and an image: refused, or the mean of both vectors.
    """

    refused: ClassVar[Mapping[str, Refused]] = {
        "instruction": Refused(
            "pass input_type, which names a prompt of the model; POST /v1/embeddings takes any text"
        ),
    }

    model: str | None = None
    input_type: str | None = None
    texts: list[str] | None = None
    images: list[str] | None = None
    inputs: list[dict[str, Any]] | None = None
    output_dimension: Annotated[int, Field(ge=1)] | None = None
    embedding_types: list[Kind] | None = None
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
        given = [side for side in (self.texts, self.images, self.inputs) if side]
        if len(given) != 1:
            raise ValueError(ONE_OF_THREE)
        return self


class CohereEmbedResponse(BaseModel):
    """Vectors by their kinds."""

    id: str
    embeddings: dict[str, list[Any]] | list[list[float]]
    texts: list[str] = []
    meta: dict[str, Any]
    response_type: Literal["embeddings_by_type", "embeddings_floats"]
