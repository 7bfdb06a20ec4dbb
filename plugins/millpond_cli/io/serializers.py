"""Serializers of results: the fields of a JSON object and the columns of CSV, one class for each type of result."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from millpond_cli.io.results import Result

    Array = NDArray[np.float32]


TEXT, NUMBER, INTEGERS, NUMBERS, TEXTS, ENTITIES = "text", "number", "integers", "numbers", "texts", "entities"


class Column(NamedTuple):
    """A column of CSV.

    Attributes:
        name: Its name.
        kind: The values in it: "text", "number", or JSON lists: "integers", "numbers", "texts" or "entities".
    """

    name: str
    kind: str


class Serializer(Protocol):
    """Converts results of one type to JSON and CSV."""

    def json(self, result: "Result") -> str:
        """Return a result as the fields of a JSON object, without the braces."""
        ...

    def columns(self, size: int) -> "list[Column]":
        """Return the columns of CSV for results with ``size`` values."""
        ...

    def cells(self, result: "Result") -> list[str]:
        """Return a result as cells of CSV."""
        ...


@dataclass(frozen=True, kw_only=True)
class VectorSerializer:
    """Serializes a vector, or one vector per token.

    Attributes:
        field: The name of the field in JSON.
        column: The prefix of the column names in CSV; the index of the dimension follows.
    """

    field: str = "embedding"
    column: str = "e"

    def json(self, result: "Result") -> str:
        """Return ``"embedding": [0.1, ...]``, with a list of lists for one vector per token."""
        return f'"{self.field}": {_list(result.value)}'

    def columns(self, size: int) -> list[Column]:
        """Return ``e0``, ``e1`` ..."""
        return [Column(f"{self.column}{n}", NUMBER) for n in range(size)]

    def cells(self, result: "Result") -> list[str]:
        """Return one cell per dimension."""
        return format_numbers(result.value)


@dataclass(frozen=True, kw_only=True)
class SparseSerializer:
    """Serializes a sparse vector: token ids and their weights.

    Attributes:
        with_tokens: True to include the tokens as text.
    """

    with_tokens: bool = False

    def json(self, result: "Result") -> str:
        """Return ``"indices": [2543, ...], "values": [1.2, ...]``."""
        cells = zip(self.columns(0), self.cells(result), strict=True)
        return ", ".join(f'"{column.name}": {cell}' for column, cell in cells)

    def columns(self, size: int) -> list[Column]:  # noqa: ARG002  lists of any length are in one cell
        """Return ``indices``, ``values`` and, if requested, ``tokens``."""
        columns = [Column("indices", INTEGERS), Column("values", NUMBERS)]
        return [*columns, Column("tokens", TEXTS)] if self.with_tokens else columns

    def cells(self, result: "Result") -> list[str]:
        """Return cells that contain JSON lists."""
        value = result.value
        cells = [json.dumps(value.indices.tolist()), _list(value.values)]
        return [*cells, json.dumps(list(value.tokens), ensure_ascii=False)] if self.with_tokens else cells


@dataclass(frozen=True, kw_only=True)
class ScoreSerializer:
    """Serializes a score: one number."""

    def json(self, result: "Result") -> str:
        """Return ``"score": 0.98``."""
        return f'"score": {self.cells(result)[0]}'

    def columns(self, size: int) -> list[Column]:  # noqa: ARG002  always one column
        """Return ``score``."""
        return [Column("score", NUMBER)]

    def cells(self, result: "Result") -> list[str]:
        """Return one cell."""
        return format_numbers(result.value.reshape(-1))


@dataclass(frozen=True, kw_only=True)
class ClassesSerializer:
    """Serializes the probabilities or logits of classes.

    Attributes:
        labels: The names of the classes.
        field: The name of the field: ``probs`` or ``logits``.
        top: The number of classes to include, most probable first; None for all classes, by index.
    """

    labels: Sequence[str]
    field: str = "probs"
    top: int | None = None

    def json(self, result: "Result") -> str:
        """Return ``"label": "joy", "probs": {"joy": 0.9, ...}``."""
        return self.fields(result.value)

    def fields(self, values: "Array") -> str:
        """Return the JSON fields for the values of the classes, [num_labels]."""
        texts = format_numbers(values)
        pairs = ", ".join(f"{_quoted(self.labels[index])}: {texts[index]}" for index in self._order(values))
        return f'"label": {_quoted(self._best_label(values))}, "{self.field}": {{{pairs}}}'

    def columns(self, size: int) -> list[Column]:  # noqa: ARG002  the number of labels is known
        """Return ``label`` and one column per class; with ``top``, a pair of columns per included class."""
        if self.top is None:
            return [Column("label", TEXT), *(Column(label, NUMBER) for label in self.labels)]
        ranks = range(1, min(self.top, len(self.labels)) + 1)
        return [it for rank in ranks for it in (Column(f"label_{rank}", TEXT), Column(f"{self.field}_{rank}", NUMBER))]

    def cells(self, result: "Result") -> list[str]:
        """Return one cell per column."""
        values, texts = result.value, format_numbers(result.value)
        if self.top is None:
            return [self._best_label(values), *texts]
        return [cell for index in self._order(values) for cell in (self.labels[index], texts[index])]

    def _best_label(self, values: "Array") -> str:
        return self.labels[int(values.argmax())]

    def _order(self, values: "Array") -> list[int]:
        if self.top is None:
            return list(range(len(values)))
        order: list[int] = (-values).argsort(kind="stable")[: self.top].tolist()
        return order


@dataclass(frozen=True, kw_only=True)
class TokenClassesSerializer:
    """Serializes the classes of each token of a text. Written as JSON only.

    Attributes:
        classes: The serializer for the classes of one token.
        token: Returns the token for a token id.
    """

    classes: ClassesSerializer
    token: Callable[[int], str]

    def json(self, result: "Result") -> str:
        """Return ``"tokens": [{"token": "Paris", "label": ...}, ...]``; without ``token`` if rows are not tokens."""
        rows, ids = result.value, result.token_ids
        has_tokens = len(ids) == len(rows)
        names = [f'"token": {_quoted(self.token(token_id))}, ' for token_id in ids] if has_tokens else [""] * len(rows)
        tokens = (f"{{{name}{self.classes.fields(row)}}}" for name, row in zip(names, rows, strict=True))
        return f'"tokens": [{", ".join(tokens)}]'

    def columns(self, size: int) -> list[Column]:
        """Return the columns of the classes."""
        return self.classes.columns(size)

    def cells(self, result: "Result") -> list[str]:
        """Return one cell that contains JSON."""
        return [self.json(result)]


@dataclass(frozen=True, kw_only=True)
class ValueSerializer:
    """Serializes JSON values: the output of an IO processor plugin, or of a task whose results are not arrays."""

    def json(self, result: "Result") -> str:
        """Return ``"data": ...``."""
        return f'"data": {json.dumps(result.value, ensure_ascii=False)}'

    def columns(self, size: int) -> list[Column]:  # noqa: ARG002  always one column
        """Return ``data``."""
        return [Column("data", TEXT)]

    def cells(self, result: "Result") -> list[str]:
        """Return one cell that contains JSON."""
        return [self.json(result).removeprefix('"data": ')]


class EntitiesSerializer:
    """Serializes the entities of a text. Written as JSON only."""

    def json(self, result: "Result") -> str:
        """Return ``"entities": [{"label": "PER", "score": 0.99, "start": 0, "end": 4, "text": "Anna"}, ...]``."""
        return f'"entities": [{", ".join(map(_entity, result.value))}]'

    def columns(self, size: int) -> list[Column]:  # noqa: ARG002  a list of any length is in one cell
        """Return ``entities``."""
        return [Column("entities", ENTITIES)]

    def cells(self, result: "Result") -> list[str]:
        """Return one cell that contains JSON."""
        return [self.json(result).removeprefix('"entities": ')]


def _entity(entity: Any) -> str:
    fields = {name: getattr(entity, name) for name in ("label", "score", "start", "end", "text")}
    return json.dumps({**fields, "score": float(f"{entity.score:.8g}")}, ensure_ascii=False)


def format_numbers(vector: "Array") -> list[str]:
    """Return numbers as text: eight significant digits, or nine if float32 needs them to be restored exactly."""
    import numpy as np  # noqa: PLC0415  not needed by --help

    values = vector.tolist()
    texts = [f"{value:.8g}" for value in values]
    for index in np.flatnonzero(np.array(texts, dtype=np.float64).astype(np.float32) != vector):
        texts[index] = f"{values[index]:.9g}"
    return texts


def _list(vector: "Array") -> str:
    items = map(_list, vector) if vector.ndim > 1 else format_numbers(vector)
    return f"[{', '.join(items)}]"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
