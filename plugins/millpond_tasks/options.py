"""TaskOptions: base classes of the options of the built-in tasks."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, field_validator

INPUT_TYPES = ("query", "document")


class TaskOptions(BaseModel):
    """Options of a task, passed as keyword arguments of a call or in ``extra_kwargs`` of its parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class QueryDocumentOptions(TaskOptions):
    """Options of a task whose texts may be queries or documents.

    Attributes:
        input_type: "query" or "document"; None if the prompts are neither.
    """

    input_type: Literal["query", "document"] | None = None

    @field_validator("input_type", mode="before")
    @classmethod
    def _is_known(cls, value: object) -> object:
        if value is not None and (not isinstance(value, str) or value not in INPUT_TYPES):
            message = f"input_type={value!r}: expected {' or '.join(map(repr, INPUT_TYPES))}"
            raise ValueError(message)
        return value
