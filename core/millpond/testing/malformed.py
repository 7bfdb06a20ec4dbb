"""Malformed input for tests: invalid values of all types, and corrupted copies of valid items."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

NESTING_DEPTH = 2000  # of nested lists, which json.loads can return
LONG_TEXT_CHARS = 100_000


def invalid_values() -> list[object]:
    """Return new values of many types that most IO processors do not accept."""
    endless: list[object] = []
    endless.append(endless)
    deep: list[object] = []
    for _ in range(NESTING_DEPTH):
        deep = [deep]
    return [
        *(None, True, False, 0, -1, 2**70, 1.5, float("nan"), float("inf"), 1j),
        *("", " ", "\0", "\ud800", "\u200b", "\N{COMBINING ACUTE ACCENT}" * 50, "a" * LONG_TEXT_CHARS),
        *(b"", b"\xff\xfe", bytearray(b"abc"), memoryview(b"abc")),
        *(object(), object, len, NotImplemented, ...),
        *([], [[]], [None], [-1], [1.5], ["a", 1], [2**70], (), set(), {1, 2}, range(0), iter([1]), endless, deep),
        *({}, {"": ""}, {1: 2}, {None: None}, {"data": None}, {"prompt": None}, {"prompt": 5}, {"prompt": "a", "x": 1}),
        *({"prompt_token_ids": "12"}, {"prompt_token_ids": [None]}, {"prompt_token_ids": []}, {"multi_modal_data": 1}),
        *(np.array(3), np.array([]), np.zeros((2, 2)), np.array([np.nan]), np.array(["a"]), np.array([None])),
        *(torch.tensor(3), torch.zeros(0), torch.zeros(2, 2), torch.zeros(1, device="meta")),
    ]


def corrupted(item: object) -> Iterator[object]:
    """Yield copies of a valid item with a part that is missing, has another type, or is duplicated."""
    if isinstance(item, Mapping):
        for key in item:
            yield {name: value for name, value in item.items() if name != key}
            for other in (*invalid_values(), *corrupted(item[key])):
                yield {**item, key: other}
        yield {**item, "no such field": 1}
    elif isinstance(item, list | tuple) and item:
        yield from (type(item)([*item, other]) for other in invalid_values())
        yield type(item)([])
    elif isinstance(item, bytes | str):
        yield from (item[: len(item) // 2], item * 2)
    elif isinstance(item, np.ndarray):
        yield from _corrupted_array(item)
    elif isinstance(item, torch.Tensor):
        yield from (torch.from_numpy(array) for array in _corrupted_array(item.numpy()) if array.dtype.kind in "fiu")


def _corrupted_array(array: np.ndarray[Any, Any]) -> Iterator[np.ndarray[Any, Any]]:
    yield from (array[None], array[..., None], array[..., :0], array[:0], array.ravel(), array.astype(object))
    yield from (array.astype(np.complex64), array.astype(str), array.astype(bool))
    if array.dtype.kind == "f":
        yield from (np.full_like(array, np.nan), np.full_like(array, np.inf), np.full_like(array, -np.inf))
