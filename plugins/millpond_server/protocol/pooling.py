"""``POST /pooling``, as vLLM has it: the bare result of any task, and what IO processor plugins make."""

from typing import Any, Literal, Self

from pydantic import BaseModel, model_validator

from millpond_server.protocol.common import Usage, VectorOptions


class PoolingRequest(VectorOptions):
    """Texts, token ids, or data of a plugin.

    Attributes:
        input: As for ``/v1/embeddings``.
        data: What only the IO processor plugin of the model reads.
        task: The pooling task; the model's own where none is given.
    """

    input: Any = None
    data: Any = None
    task: str | None = None
    add_special_tokens: bool = True

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.input is None) == (self.data is None):
            message = "exactly one of `input` and `data` must be given"
            raise ValueError(message)
        return self


class PoolingItem(BaseModel):
    """One result."""

    index: int
    object: Literal["pooling"] = "pooling"
    data: list[Any] | str


class PoolingResponse(BaseModel):
    """All results, in the order of the inputs."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[PoolingItem]
    usage: Usage


class PluginResponse(BaseModel):
    """What an IO processor plugin made."""

    request_id: str
    created_at: int
    data: Any
