"""``POST /classify``, as vLLM has it."""

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, model_validator

from millpond_server.apis.common.refused import OF_CLASSES, Refused
from millpond_server.apis.common.removed import WithoutRemoved
from millpond_server.apis.common.schemas import Inputs, TextOptions, Usage, activation


class ClassificationRequest(WithoutRemoved, TextOptions, Inputs):
    """Texts or token ids whose classes are wanted.

    Attributes:
        use_activation: Whether probabilities are given; else logits.
        raw_scores: The opposite, as Infinity has it.
    """

    without_effect: ClassVar[frozenset[str]] = frozenset({"cache_salt", "multi_modal_uuids"})
    refused: ClassVar[Mapping[str, Refused]] = OF_CLASSES

    use_activation: bool | None = None
    raw_scores: bool | None = None

    @model_validator(mode="after")
    def _in_one_voice(self) -> Self:
        if self.raw_scores is not None:
            self.use_activation = activation(self.use_activation, raw_scores=self.raw_scores)
        return self


class ClassificationItem(BaseModel):
    """The classes of one text."""

    index: int
    label: str | None
    probs: list[float]
    num_classes: int


class ClassificationResponse(BaseModel):
    """The classes of all texts, in their order."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[ClassificationItem]
    usage: Usage
