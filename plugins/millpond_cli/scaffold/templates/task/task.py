"""The task addon_name: its options and its output."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class AddonNameOptions(BaseModel):
    """Options of the task.

    Attributes:
        bits: The number of bits, a multiple of 8.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bits: Annotated[int, Field(ge=8, multiple_of=8, strict=True)] = 32


@dataclass(frozen=True)
class AddonName:
    """The bits of one text.

    Attributes:
        bits: The bits in hexadecimal digits; texts of similar meaning differ in few bits.
    """

    bits: str
