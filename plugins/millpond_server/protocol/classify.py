"""``POST /classify``, as vLLM has it."""

from typing import Literal

from pydantic import BaseModel

from millpond_server.protocol.common import Inputs, TextOptions, Usage
from millpond_server.protocol.removed import WithoutRemoved


class ClassificationRequest(WithoutRemoved, TextOptions, Inputs):
    """Texts or token ids whose classes are wanted.

    Attributes:
        use_activation: Whether probabilities are given; else logits.
    """

    use_activation: bool | None = None


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
