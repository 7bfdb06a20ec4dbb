"""The task addon_name: its items, its options and its output."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class AddonNameItem(BaseModel):
    """One item of a call.

    Attributes:
        text: The text of a document.
        title: Its title.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: Annotated[str, Field(min_length=1)]
    title: str = ""


class AddonNameOptions(BaseModel):
    """Options of the task.

    Attributes:
        bits: The number of bits, a multiple of 8.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bits: Annotated[int, Field(ge=8, multiple_of=8, strict=True)] = 32


@dataclass(frozen=True)
class AddonName:
    """The bits of one document.

    Attributes:
        bits: The bits in hexadecimal digits; documents of similar meaning differ in few bits.
    """

    bits: str
