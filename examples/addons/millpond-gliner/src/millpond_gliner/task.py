"""The task gliner: its options and its output."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class GlinerOptions(BaseModel):
    """Options of the task.

    Attributes:
        labels: The types of entities to find, such as ``["person", "city"]``.
        threshold: The minimum probability of an entity.
        flat: True for entities that do not overlap; False also allows an entity inside another one.
        multi_label: True if a span may have several labels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=200)], ...], Field(max_length=100)] = ()
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    flat: bool = True
    multi_label: bool = False


@dataclass(frozen=True, kw_only=True)
class FoundEntity:
    """An entity of a text.

    Attributes:
        text: The part of the text.
        label: Its label.
        score: The probability of the label.
        start: The index of its first character.
        end: The index after its last character.
    """

    text: str
    label: str
    score: float
    start: int
    end: int


@dataclass(frozen=True)
class FoundEntities:
    """The entities of one text, in the order of their starts."""

    entities: tuple[FoundEntity, ...]
