"""``POST /pooling``, as vLLM has it: the bare result of any task, and what IO processor plugins make."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from millpond_server.protocol.common import Inputs, Usage, VectorOptions, one_of


class PoolingRequest(VectorOptions, Inputs):
    """Texts, token ids, conversations, or data of a plugin.

    Attributes:
        data: What only the IO processor plugin of the model reads.
        task: The pooling task; the model's own where none is given.
    """

    model_config = ConfigDict(json_schema_extra=one_of(("input",), ("messages",), ("data",)))

    data: Any = None
    task: str | None = None

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
