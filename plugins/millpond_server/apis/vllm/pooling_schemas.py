"""``POST /pooling``, as vLLM has it: the bare result of any task, and what IO processor plugins make."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from millpond_server.apis.common.instruction import WithInstruction
from millpond_server.apis.common.removed import WithoutRemoved
from millpond_server.apis.common.schemas import Inputs, Usage, VectorOptions, one_of
from millpond_server.apis.common.sides import Sides


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
    """

    model_config = ConfigDict(json_schema_extra=one_of(("input",), ("messages",), ("data",)))

    data: Any = None
    task: str | None = None
    pool_factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    late_chunking_params: LateChunking | None = None

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
