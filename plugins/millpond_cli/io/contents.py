"""The forms of a result: the fields of a JSON object, the columns of CSV. One content for each kind of result."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from millpond_cli.io.results import Result

    Array = NDArray[np.float32]


class Content(Protocol):
    """A form of results."""

    def json(self, result: "Result") -> str:
        """Return a result as the fields of a JSON object, without its braces."""
        ...

    def columns(self, size: int) -> list[str]:
        """Return the names of the columns of results with ``size`` values."""
        ...

    def cells(self, result: "Result") -> list[str]:
        """Return a result as cells of CSV."""
        ...


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """A vector, or one a token, under one name.

    Attributes:
        field: Its name in JSON.
        column: The prefix of the number of a dimension in CSV.
    """

    field: str = "embedding"
    column: str = "e"

    def json(self, result: "Result") -> str:
        """``"embedding": [0.1, ...]``; a list of lists for one row a token."""
        return f'"{self.field}": {_list(result.value)}'

    def columns(self, size: int) -> list[str]:
        """``e0``, ``e1`` ..."""
        return [f"{self.column}{n}" for n in range(size)]

    def cells(self, result: "Result") -> list[str]:
        """A cell a dimension."""
        return number_texts(result.value)


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The tokens of the vocabulary that have a weight.

    Attributes:
        with_tokens: True to write them as text as well.
    """

    with_tokens: bool = False

    def json(self, result: "Result") -> str:
        """``"indices": [2543, ...], "values": [1.2, ...]``."""
        names = ("indices", "values", *(("tokens",) if self.with_tokens else ()))
        return ", ".join(f'"{name}": {text}' for name, text in zip(names, self.cells(result), strict=True))

    def columns(self, size: int) -> list[str]:  # noqa: ARG002  each text has as many as it has
        """``indices``, ``values``, ``tokens``."""
        return ["indices", "values", *(("tokens",) if self.with_tokens else ())]

    def cells(self, result: "Result") -> list[str]:
        """Cells with JSON lists in them."""
        value = result.value
        told = [json.dumps(value.indices.tolist()), _list(value.values)]
        return [*told, json.dumps(list(value.tokens), ensure_ascii=False)] if self.with_tokens else told


@dataclass(frozen=True, kw_only=True)
class Score:
    """One number."""

    def json(self, result: "Result") -> str:
        """``"score": 0.98``."""
        return f'"score": {self.cells(result)[0]}'

    def columns(self, size: int) -> list[str]:  # noqa: ARG002  it is one, whatever the model
        """``score``."""
        return ["score"]

    def cells(self, result: "Result") -> list[str]:
        """One cell."""
        return number_texts(result.value.reshape(-1))


@dataclass(frozen=True, kw_only=True)
class Classes:
    """The classes of a text with their numbers.

    Attributes:
        labels: Their names.
        field: The name of the numbers: ``probs`` or ``logits``.
        top: The number of classes, the best first; None for all, in their order.
    """

    labels: Sequence[str]
    field: str = "probs"
    top: int | None = None

    def json(self, result: "Result") -> str:
        """``"label": "joy", "probs": {"joy": 0.9, ...}``."""
        return self.told(result.value)

    def told(self, value: "Array") -> str:
        """Return the fields for the numbers of the classes, [num_labels]."""
        texts = number_texts(value)
        pairs = ", ".join(f"{_text(self.labels[place])}: {texts[place]}" for place in self._order(value))
        return f'"label": {_text(self._best(value))}, "{self.field}": {{{pairs}}}'

    def columns(self, size: int) -> list[str]:  # noqa: ARG002  the labels say it
        """``label`` and a column a class; or the names of the best, each before its number."""
        if self.top is None:
            return ["label", *self.labels]
        numbers = range(1, min(self.top, len(self.labels)) + 1)
        return [name for number in numbers for name in (f"label_{number}", f"{self.field}_{number}")]

    def cells(self, result: "Result") -> list[str]:
        """A cell a column."""
        value, texts = result.value, number_texts(result.value)
        if self.top is None:
            return [self._best(value), *texts]
        return [cell for place in self._order(value) for cell in (self.labels[place], texts[place])]

    def _best(self, value: "Array") -> str:
        return self.labels[int(value.argmax())]

    def _order(self, value: "Array") -> list[int]:
        if self.top is None:
            return list(range(len(value)))
        order: list[int] = (-value).argsort(kind="stable")[: self.top].tolist()
        return order


@dataclass(frozen=True, kw_only=True)
class TokenClasses:
    """The classes of each token of a text, for JSON alone.

    Attributes:
        classes: The form of the classes of one token.
        token: The token of an id.
    """

    classes: Classes
    token: Callable[[int], str]

    def json(self, result: "Result") -> str:
        """``"tokens": [{"token": "Paris", "label": ...}, ...]``; without ``token`` where a row is not that of one."""
        rows, ids = result.value, result.token_ids
        known = len(ids) == len(rows)
        names = [f'"token": {_text(self.token(number))}, ' for number in ids] if known else [""] * len(rows)
        told = (f"{{{name}{self.classes.told(row)}}}" for name, row in zip(names, rows, strict=True))
        return f'"tokens": [{", ".join(told)}]'

    def columns(self, size: int) -> list[str]:
        """The columns of the classes."""
        return self.classes.columns(size)

    def cells(self, result: "Result") -> list[str]:
        """One cell, with JSON in it."""
        return [self.json(result)]


@dataclass(frozen=True, kw_only=True)
class Anything:
    """The output of an IO processor plugin, or of a task whose results are not arrays, as JSON values."""

    def json(self, result: "Result") -> str:
        """``"data": ...``."""
        return f'"data": {json.dumps(result.value, ensure_ascii=False)}'

    def columns(self, size: int) -> list[str]:  # noqa: ARG002  the protocol has it
        """``data``."""
        return ["data"]

    def cells(self, result: "Result") -> list[str]:
        """One cell, with JSON in it."""
        return [self.json(result).removeprefix('"data": ')]


class Entities:
    """The entities of a text, for JSON alone."""

    def json(self, result: "Result") -> str:
        """``"entities": [{"label": "PER", "score": 0.99, "start": 0, "end": 4, "text": "Anna"}, ...]``."""
        return f'"entities": [{", ".join(map(_entity, result.value))}]'

    def columns(self, size: int) -> list[str]:  # noqa: ARG002  each text has as many as it has
        """``entities``."""
        return ["entities"]

    def cells(self, result: "Result") -> list[str]:
        """One cell, with JSON in it."""
        return [self.json(result).removeprefix('"entities": ')]


def _entity(entity: Any) -> str:
    fields = {name: getattr(entity, name) for name in ("label", "score", "start", "end", "text")}
    return json.dumps({**fields, "score": float(f"{entity.score:.8g}")}, ensure_ascii=False)


def number_texts(vector: "Array") -> list[str]:
    """Return numbers as text: eight digits, nine where eight would not lead back to the same float32."""
    import numpy as np  # noqa: PLC0415  --help does without

    values = vector.tolist()
    texts = [f"{value:.8g}" for value in values]
    for place in np.flatnonzero(np.array(texts, dtype=np.float64).astype(np.float32) != vector):
        texts[place] = f"{values[place]:.9g}"
    return texts


def _list(vector: "Array") -> str:
    inner = map(_list, vector) if vector.ndim > 1 else number_texts(vector)
    return f"[{', '.join(inner)}]"


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
