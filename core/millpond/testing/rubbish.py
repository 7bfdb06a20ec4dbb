"""What callers hand in by mistake or malice: values of every kind, and good items spoilt in every way."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

DEPTH = 2000  # of lists in lists; json.loads makes such ones
LENGTH = 100_000


def rubbish() -> list[object]:
    """Values that are next to nobody's input, made anew."""
    endless: list[object] = []
    endless.append(endless)
    deep: list[object] = []
    for _ in range(DEPTH):
        deep = [deep]
    return [
        *(None, True, False, 0, -1, 2**70, 1.5, float("nan"), float("inf"), 1j),
        *("", " ", "\0", "\ud800", "\u200b", "\N{COMBINING ACUTE ACCENT}" * 50, "a" * LENGTH),
        *(b"", b"\xff\xfe", bytearray(b"abc"), memoryview(b"abc")),
        *(object(), object, len, NotImplemented, ...),
        *([], [[]], [None], [-1], [1.5], ["a", 1], [2**70], (), set(), {1, 2}, range(0), iter([1]), endless, deep),
        *({}, {"": ""}, {1: 2}, {None: None}, {"data": None}, {"prompt": None}, {"prompt": 5}, {"prompt": "a", "x": 1}),
        *({"prompt_token_ids": "12"}, {"prompt_token_ids": [None]}, {"prompt_token_ids": []}, {"multi_modal_data": 1}),
        *(np.array(3), np.array([]), np.zeros((2, 2)), np.array([np.nan]), np.array(["a"]), np.array([None])),
        *(torch.tensor(3), torch.zeros(0), torch.zeros(2, 2), torch.zeros(1, device="meta")),
    ]


def spoilt(item: object) -> Iterator[object]:
    """A good item with one of its parts missing, of another kind, or one too many."""
    if isinstance(item, Mapping):
        for key in item:
            yield {name: value for name, value in item.items() if name != key}
            for other in (*rubbish(), *spoilt(item[key])):
                yield {**item, key: other}
        yield {**item, "no such field": 1}
    elif isinstance(item, list | tuple) and item:
        yield from (type(item)([*item, other]) for other in rubbish())
        yield type(item)([])
    elif isinstance(item, bytes | str):
        yield from (item[: len(item) // 2], item * 2)
    elif isinstance(item, np.ndarray):
        yield from _spoilt_array(item)
    elif isinstance(item, torch.Tensor):
        yield from (torch.from_numpy(array) for array in _spoilt_array(item.numpy()) if array.dtype.kind in "fiu")


def _spoilt_array(array: np.ndarray[Any, Any]) -> Iterator[np.ndarray[Any, Any]]:
    yield from (array[None], array[..., None], array[..., :0], array[:0], array.ravel(), array.astype(object))
    yield from (array.astype(np.complex64), array.astype(str), array.astype(bool))
    if array.dtype.kind == "f":
        yield from (np.full_like(array, np.nan), np.full_like(array, np.inf), np.full_like(array, -np.inf))
