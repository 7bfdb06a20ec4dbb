"""Schemas of OpenAI's ``POST /v1/embeddings`` with the fields of vLLM, Jina and Infinity, and ``GET /v1/models``."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field

from millpond_server.apis.common.schemas import Inputs, InstructionOptions, Usage, VectorOptions
from millpond_server.apis.common.unsupported_fields import VECTOR_FIELDS, UnsupportedField

EmbeddingType = Literal["float", "int8", "uint8", "binary", "ubinary", "base64"]
CohereTruncate = Literal["NONE", "START", "END"]
TRUNCATION_SIDES: Mapping[str, str] = {"START": "left", "END": "right"}


class EmbeddingRequest(InstructionOptions, VectorOptions, Inputs):
    """Inputs to embed: texts, token ids or images.

    Attributes:
        mixed: For an input with a text and an image: "error", or "mean" for the mean of both vectors.
        task: Jina's name of the purpose of the texts. Selects the model's prompt or adapter of that name or meaning, if
            it has one.
        input_type: Cohere's name of ``task``.
        normalize: The old name of vLLM's ``use_activation``.
        normalized: Jina's name of ``use_activation``.
        output_dimension: Cohere's name of ``dimensions``.
        truncate: True to truncate texts that are too long; or the side to truncate, in Cohere's format.
        embedding_type: Jina's name of the type of the values, or a list with one type.
        modality: Infinity's type of the inputs; with "image", they are URLs, data: URLs or base64.
        late_chunking: Jina's late chunking: all inputs are read as one text, and each is a chunk of it.
    """

    without_effect: ClassVar[frozenset[str]] = frozenset({"cache_salt", "multi_modal_uuids", "mm_uuids"})
    unsupported: ClassVar[Mapping[str, UnsupportedField]] = VECTOR_FIELDS
    idle: ClassVar[frozenset[str]] = frozenset({"late_chunking", "modality"})
    aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **InstructionOptions.aliases,
        "use_activation": ("normalize", "normalized"),
        "dimensions": ("output_dimension",),
    }

    task: str | None = None
    input_type: str | None = None
    mixed: Literal["error", "mean"] | None = None
    normalize: bool | None = None
    normalized: bool | None = None
    output_dimension: Annotated[int, Field(ge=1, strict=True)] | None = None
    truncate: bool | CohereTruncate | None = None
    embedding_type: EmbeddingType | Annotated[list[EmbeddingType], Field(min_length=1, max_length=1)] | None = None
    modality: Literal["text", "image", "audio"] = "text"
    late_chunking: bool = False

    @property
    def requested_type(self) -> EmbeddingType | None:
        """The type in ``embedding_type``; None if it is missing."""
        return self.embedding_type[0] if isinstance(self.embedding_type, list) else self.embedding_type

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments of ``AsyncLLM``."""
        options = super().options()
        if self.truncate in (None, False, "NONE"):
            return options
        options.setdefault("truncate_prompt_tokens", -1)
        side = TRUNCATION_SIDES.get(str(self.truncate))
        if side is not None and self.truncation_side is None:
            options["tokenization_kwargs"] = {**options.get("tokenization_kwargs", {}), "truncation_side": side}
        return options


class EmbeddingItem(BaseModel):
    """One vector; or one per token or chunk, for a model that embeds with ``token_embed``."""

    index: int
    object: Literal["embedding"] = "embedding"
    embedding: list[float] | list[list[float]] | str
    late_chunking: dict[str, Any] | None = None


class EmbeddingResponse(BaseModel):
    """The vectors, in the order of the inputs."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[EmbeddingItem]
    usage: Usage


def usage_of(tokens: int) -> dict[str, Any]:
    """Return the token usage."""
    return {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0, "prompt_tokens_details": None}


class ModelCard(BaseModel):
    """A model.

    Attributes:
        modalities: The kinds of its inputs, such as "text" and "image".
        space_id: The id of the space of its embeddings; null without embeddings.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "millpond"
    root: str
    parent: str | None = None
    max_model_len: int
    tasks: list[str]
    modalities: list[str]
    embedding_size: int | None
    matryoshka_dimensions: list[int] | None
    space_id: str | None
    permission: list[Any] = []
    stats: dict[str, float]


class ModelList(BaseModel):
    """All models, the default one first."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
