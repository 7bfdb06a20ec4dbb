"""``GET /v1/models``: the models of a server."""

from typing import Any, Literal

from pydantic import BaseModel


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
