"""Demands of tests: fail with a complaint unless something holds, or two results are the same."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from millpond.types.outputs import ArrayOutput

Array = NDArray[Any]


def demand(holds: bool, complaint: str) -> None:
    """Fail the test with the complaint unless it holds."""
    __tracebackhide__ = True
    if not holds:
        pytest.fail(complaint)


def demand_same(found: object, expected: object, tolerance: float, what: str) -> None:
    """Fail the test unless two results are the same; see ``difference``."""
    __tracebackhide__ = True
    apart = difference(found, expected, tolerance)
    demand(apart is None, f"{what}: {apart}")


def difference(found: object, expected: object, tolerance: float) -> str | None:
    """What sets two results apart, whatever they are made of; None if nothing does.

    Args:
        found: An output, an array, a tensor, a number, a text; or a mapping, a list or a dataclass of these.
        expected: What it is held against.
        tolerance: How far numbers may be apart, in units of the largest of an array, 1 at the least; 0 for not at all.
    """
    if type(found) is not type(expected):
        return f"{type(found).__name__} instead of {type(expected).__name__}"
    arrays = _array(found), _array(expected)
    if arrays[0] is not None and arrays[1] is not None:
        return _distance(arrays[0], arrays[1], tolerance)
    parts = _parts(found), _parts(expected)
    if parts[0] is None or parts[1] is None:
        return _difference_of_values(found, expected)
    if parts[0].keys() != parts[1].keys():
        return f"the parts {list(parts[0])} instead of {list(parts[1])}"
    for name, part in parts[0].items():
        apart = difference(part, parts[1][name], tolerance)
        if apart is not None:
            return f"{name}: {apart}"
    return None


def _difference_of_values(found: object, expected: object) -> str | None:
    if bool(found == expected):
        return None
    if not isinstance(found, bytes | bytearray) or not isinstance(expected, bytes | bytearray):
        return f"{found!r:.80} instead of {expected!r:.80}"
    pairs = enumerate(zip(found, expected, strict=False))
    place = next((place for place, (one, other) in pairs if one != other), min(len(found), len(expected)))
    hint = "Where rounding may do that, override comparable(output) and decode them to arrays"
    return f"{len(found)} bytes instead of {len(expected)}, which differ from byte {place} on. {hint}"


def _array(value: object) -> Array | None:
    """The numbers of what holds numbers; None for anything else."""
    if isinstance(value, ArrayOutput):
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


def _distance(found: Array, expected: Array, tolerance: float) -> str | None:
    if found.shape != expected.shape:
        return f"the shape {list(found.shape)} instead of {list(expected.shape)}"
    if tolerance == 0 or not np.issubdtype(expected.dtype, np.floating):
        return None if np.array_equal(found, expected) else "not the same to the bit"
    if expected.size == 0:
        return None
    error = float(np.abs(found - expected).max()) / max(1.0, float(np.abs(expected).max()))
    return None if error <= tolerance else f"off by {error:.2g} where {tolerance:.2g} is allowed"
