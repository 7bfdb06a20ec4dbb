"""How a result is told in words: the fields of a JSON object, the columns of CSV. One content a kind of result."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Content(Protocol):
    """How the results of a command are told."""

    def json(self, value: Any) -> str:
        """A result as the fields of a JSON object, without its braces."""

    def columns(self, size: int) -> list[str]:
        """The names of the columns of results with so many values."""

    def cells(self, value: Any) -> list[str]:
        """A result as cells of CSV."""


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """A vector, or one a token, under one name.

    Attributes:
        field: Its name in JSON.
        column: What stands before the number of a dimension in CSV.
    """

    field: str = "embedding"
    column: str = "e"

    def json(self, value: Array) -> str:
        """``"embedding": [0.1, ...]``; a list of lists for one row a token."""
        return f'"{self.field}": {_list(value)}'

    def columns(self, size: int) -> list[str]:
        """``e0``, ``e1`` ..."""
        return [f"{self.column}{n}" for n in range(size)]

    def cells(self, value: Array) -> list[str]:
        """A cell a dimension."""
        return number_texts(value)


@dataclass(frozen=True, kw_only=True)
class Score:
    """One number."""

    def json(self, value: Array) -> str:
        """``"score": 0.98``."""
        return f'"score": {self.cells(value)[0]}'

    def columns(self, size: int) -> list[str]:  # noqa: ARG002  it is one, whatever the model
        """``score``."""
        return ["score"]

    def cells(self, value: Array) -> list[str]:
        """One cell."""
        return number_texts(np.atleast_1d(value))


@dataclass(frozen=True, kw_only=True)
class Classes:
    """The classes of a text and what the model gives for each.

    Attributes:
        labels: Their names.
        field: What the numbers are: ``probs`` or ``logits``.
        top: How many classes are told, the best first; None for all, in their order.
    """

    labels: Sequence[str]
    field: str = "probs"
    top: int | None = None

    def json(self, value: Array) -> str:
        """``"label": "joy", "probs": {"joy": 0.9, ...}``."""
        texts, order = number_texts(value), self._order(value)
        pairs = ", ".join(f"{_text(self.labels[place])}: {texts[place]}" for place in order)
        return f'"label": {_text(self.labels[best(value)])}, "{self.field}": {{{pairs}}}'

    def columns(self, size: int) -> list[str]:  # noqa: ARG002  the labels say it
        """``label`` and a column a class; or the names of the best, each before its number."""
        if self.top is None:
            return ["label", *self.labels]
        numbers = range(1, min(self.top, len(self.labels)) + 1)
        return [name for number in numbers for name in (f"label_{number}", f"{self.field}_{number}")]

    def cells(self, value: Array) -> list[str]:
        """A cell a column."""
        texts = number_texts(value)
        if self.top is None:
            return [self.labels[best(value)], *texts]
        return [cell for place in self._order(value) for cell in (self.labels[place], texts[place])]

    def _order(self, value: Array) -> list[int]:
        if self.top is None:
            return list(range(len(value)))
        order: list[int] = np.argsort(-value, kind="stable")[: self.top].tolist()
        return order


@dataclass(frozen=True, kw_only=True)
class Anything:
    """What an IO processor of a plugin's makes, as JSON has it."""

    def json(self, value: Any) -> str:
        """``"data": ...``."""
        return f'"data": {json.dumps(value, ensure_ascii=False, default=_plain)}'

    def columns(self, size: int) -> list[str]:  # noqa: ARG002  the protocol has it
        """``data``."""
        return ["data"]

    def cells(self, value: Any) -> list[str]:
        """One cell, with JSON in it."""
        return [self.json(value).removeprefix('"data": ')]


def best(value: Array) -> int:
    """The place of the class with the greatest number."""
    return int(value.argmax())


def number_texts(vector: Array) -> list[str]:
    """Numbers as text: eight digits, nine where eight would not lead back to the same float32."""
    values = vector.tolist()
    texts = [f"{value:.8g}" for value in values]
    for place in np.flatnonzero(np.array(texts, dtype=np.float64).astype(np.float32) != vector):
        texts[place] = f"{values[place]:.9g}"
    return texts


def _list(vector: Array) -> str:
    inner = map(_list, vector) if vector.ndim > 1 else number_texts(vector)
    return f"[{', '.join(inner)}]"


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """What is not of JSON, as something that is: records as their fields, arrays as lists."""
    if hasattr(value, "model_dump"):
        return value.model_dump()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    array = getattr(value, "array", value)  # that of one of Millpond's outputs
    if hasattr(array, "tolist"):
        return array.tolist()
    return str(value)
