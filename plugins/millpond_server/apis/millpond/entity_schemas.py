"""``POST /entities``: what no other server has."""

from typing import Literal

from pydantic import BaseModel

from millpond_server.apis.common.schemas import Inputs, TextOptions, Usage


class EntitiesRequest(TextOptions, Inputs):
    """Texts whose entities are wanted.

    Attributes:
        aggregation: How tokens become entities.
        ignore_labels: The kinds that are left out.
    """

    aggregation: Literal["none", "simple", "first", "average", "max"] = "simple"
    ignore_labels: tuple[str, ...] = ("O",)


class FoundEntity(BaseModel):
    """A part of a text that is of one kind; ``token`` is the place of a token, where these are told one by one."""

    label: str
    score: float
    start: int
    end: int
    text: str
    word: str
    token: int | None = None


class EntitiesItem(BaseModel):
    """The entities of one text."""

    index: int
    entities: list[FoundEntity]


class EntitiesResponse(BaseModel):
    """The entities of all texts, in their order."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[EntitiesItem]
    usage: Usage
