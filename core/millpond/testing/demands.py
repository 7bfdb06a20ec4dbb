"""Assertions of the test kit: they fail with a message unless a condition holds or two results are equal."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from millpond.types.outputs import PoolingOutput

Array = NDArray[Any]


def demand(condition: bool, message: str) -> None:
    """Fail the test with the message unless the condition holds."""
    __tracebackhide__ = True
    if not condition:
        pytest.fail(message)


def demand_same(actual: object, expected: object, tolerance: float, what: str) -> None:
    """Fail the test unless two results are equal; see ``difference``."""
    __tracebackhide__ = True
    problem = difference(actual, expected, tolerance)
    demand(problem is None, f"{what}: {problem}")


def difference(actual: object, expected: object, tolerance: float) -> str | None:
    """Describe the first difference between two results; None if they are equal.

    Args:
        actual: An output, an array, a tensor, a number, a text; or a mapping, a list or a dataclass of these.
        expected: The expected value.
        tolerance: The allowed error of numbers, relative to the largest value of an array (at least 1); 0 requires
            equal bits.
    """
    if type(actual) is not type(expected):
        return f"{type(actual).__name__} instead of {type(expected).__name__}"
    arrays = _array(actual), _array(expected)
    if arrays[0] is not None and arrays[1] is not None:
        return _distance(arrays[0], arrays[1], tolerance)
    parts = _parts(actual), _parts(expected)
    if parts[0] is None or parts[1] is None:
        return _difference_of_values(actual, expected)
    if parts[0].keys() != parts[1].keys():
        return f"the parts {list(parts[0])} instead of {list(parts[1])}"
    for name, part in parts[0].items():
        problem = difference(part, parts[1][name], tolerance)
        if problem is not None:
            return f"{name}: {problem}"
    return None


def _difference_of_values(actual: object, expected: object) -> str | None:
    if bool(actual == expected):
        return None
    if not isinstance(actual, bytes | bytearray) or not isinstance(expected, bytes | bytearray):
        return f"{actual!r:.80} instead of {expected!r:.80}"
    pairs = enumerate(zip(actual, expected, strict=False))
    first = next((index for index, (byte, other) in pairs if byte != other), min(len(actual), len(expected)))
    hint = "If rounding can cause this, override comparable(output) and decode the bytes to arrays"
    return f"{len(actual)} bytes instead of {len(expected)}, different from byte {first}. {hint}"


def _array(value: object) -> Array | None:
    """The numbers of an output, tensor, array or float; None for other values."""
    if isinstance(value, PoolingOutput):
        return value.array
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().float().numpy() if value.is_floating_point() else value.detach().cpu().numpy()
    return np.asarray(value) if isinstance(value, np.ndarray | np.generic | float) else None


def _parts(value: object) -> Mapping[Any, object] | None:
    if isinstance(value, Mapping):
        return value
    if isinstance(value, list | tuple):
        return dict(enumerate(value))
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return None


def _distance(actual: Array, expected: Array, tolerance: float) -> str | None:
    if actual.shape != expected.shape:
        return f"the shape {list(actual.shape)} instead of {list(expected.shape)}"
    if tolerance == 0 or not np.issubdtype(expected.dtype, np.floating):
        return None if np.array_equal(actual, expected) else "the bits differ"
    if expected.size == 0:
        return None
    error = float(np.abs(actual - expected).max()) / max(1.0, float(np.abs(expected).max()))
    return None if error <= tolerance else f"the error is {error:.2g}, which exceeds {tolerance:.2g}"
