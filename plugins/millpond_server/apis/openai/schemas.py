"""OpenAI's ``POST /v1/embeddings``, with fields that vLLM, Jina, Infinity and others add; ``GET /v1/models``."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field, model_validator

from millpond_server.apis.common.refused import OF_VECTORS, Refused
from millpond_server.apis.common.schemas import Inputs, Usage, VectorOptions, WithInstruction, same

Kind = Literal["float", "int8", "uint8", "binary", "ubinary", "base64"]
Cut = Literal["NONE", "START", "END"]
SIDES: Mapping[str, str] = {"START": "left", "END": "right"}


class EmbeddingRequest(WithInstruction, VectorOptions, Inputs):
    """Texts, token ids or images that become vectors.

    Attributes:
        mixed: What becomes of an input with a text and an image: refused, or the mean of both vectors.
        task: What the texts are for, as Jina has it: the model's prompt of that name, or of that meaning, is put before
            them, and its adapter of that name computes them; without effect on models that have neither.
        input_type: The same, as Cohere has it.
        normalize: The same as ``use_activation``, as vLLM had it.
        normalized: The same, as Jina has it.
        output_dimension: The same as ``dimensions``, as Cohere has it.
        truncate: Whether texts that are too long are cut; or the side that they are cut from, as Cohere has it.
        embedding_type: The kind of the vectors' numbers, or a list of one, as Jina has it.
        modality: What the inputs are, as Infinity has it: with "image", URLs, data: URLs or base64 of images.
        late_chunking: Whether the inputs are read as one text, of which each is a chunk, as Jina has it.
    """

    without_effect: ClassVar[frozenset[str]] = frozenset({"cache_salt", "multi_modal_uuids", "mm_uuids"})
    refused: ClassVar[Mapping[str, Refused]] = OF_VECTORS
    idle: ClassVar[frozenset[str]] = frozenset({"late_chunking", "modality"})

    task: str | None = None
    input_type: str | None = None
    mixed: Literal["error", "mean"] | None = None
    normalize: bool | None = None
    normalized: bool | None = None
    output_dimension: Annotated[int, Field(ge=1, strict=True)] | None = None
    truncate: bool | Cut | None = None
    embedding_type: Kind | Annotated[list[Kind], Field(min_length=1, max_length=1)] | None = None
    modality: Literal["text", "image", "audio"] = "text"
    late_chunking: bool = False

    @property
    def kind(self) -> Kind | None:
        """The kind of the vectors' numbers, where the body names one in Jina's words."""
        return self.embedding_type[0] if isinstance(self.embedding_type, list) else self.embedding_type

    def options(self) -> dict[str, Any]:
        """What of this a call of ``AsyncLLM`` takes."""
        said = super().options()
        if self.truncate in (None, False, "NONE"):
            return said
        said.setdefault("truncate_prompt_tokens", -1)
        side = SIDES.get(str(self.truncate))
        if side is not None and self.truncation_side is None:
            said["tokenization_kwargs"] = {**said.get("tokenization_kwargs", {}), "truncation_side": side}
        return said

    @model_validator(mode="after")
    def _in_one_voice(self) -> Self:
        """Bring what clients call by several names under one."""
        self.use_activation = same(self, "use_activation", "normalize", "normalized")
        self.dimensions = same(self, "dimensions", "output_dimension")
        return self


class EmbeddingItem(BaseModel):
    """One vector; one a token, where the model has those alone."""

    index: int
    object: Literal["embedding"] = "embedding"
    embedding: list[float] | list[list[float]] | str


class EmbeddingResponse(BaseModel):
    """All vectors, in the order of the inputs."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[EmbeddingItem]
    usage: Usage


def usage_of(tokens: int) -> dict[str, Any]:
    """The tokens that were read, as clients look for them."""
    return {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0, "prompt_tokens_details": None}


class ModelCard(BaseModel):
    """One model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "millpond"
    root: str
    parent: str | None = None
    max_model_len: int
    tasks: list[str]
    embedding_size: int | None
    matryoshka_dimensions: list[int] | None
    permission: list[Any] = []
    stats: dict[str, float]


class ModelList(BaseModel):
    """All models, the default one first."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
