"""The output of an IO processor as JSON values: bytes and arrays become objects with a type marker."""

import base64
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, time
from decimal import Decimal
from enum import Enum
from os import PathLike, fspath
from typing import Any
from uuid import UUID

PIECE_BYTES = 3 * 2**18  # bytes encoded at a time, so that other threads can run; a multiple of 3
NUMBER_KINDS = "biuf"  # kinds of numpy dtypes that become JSON numbers or booleans
DATE_KINDS = "Mm"  # kinds of dates and durations, which become text in numpy's format
TEXT_TYPES = (date, time, UUID, Decimal)


def to_json_values(value: object, *, array: Callable[[Any], object] | None = None) -> Any:
    """Convert a value to types that ``json.dumps`` supports.

    Bytes become ``{"type": "bytes", "base64": ...}``. Numpy arrays and torch tensors become lists of numbers, or the
    result of ``array``. Dataclasses, pydantic models and Millpond's outputs become objects or lists; enums their value;
    paths, dates, UUIDs and decimals text.

    Args:
        value: The value; containers may be nested.
        array: Converts a numpy array of numbers or booleans; by default its ``tolist``.

    Raises:
        TypeError: If a part of the value has no JSON representation; the message names the part and its type.
    """
    convert = array or (lambda numbers: numbers.tolist())
    try:
        return _converted(value, convert, "")
    except RecursionError:
        message = "it is nested too deeply, or contains itself"
        raise TypeError(message) from None


def tagged_array(array: Any) -> dict[str, Any]:
    """Return a numpy array as ``{"type": "ndarray", "dtype": ..., "shape": ..., "base64": ...}``.

    The bytes are in C order and little-endian.
    """
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return {
        "type": "ndarray",
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "base64": base64_text(little.tobytes()),
    }


def as_bytes(value: object) -> bytes | None:
    """Return the bytes of a bytes-like value; None for anything else."""
    return bytes(value) if isinstance(value, bytes | bytearray | memoryview) else None


def as_array(value: object) -> Any:
    """Return an array, a tensor or an output with an array as a numpy array; None for anything else."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is not None and isinstance(value, torch.Tensor):
        tensor: Any = value
        tensor = tensor.detach().cpu()
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    if numpy is None:
        return None
    if not isinstance(value, numpy.ndarray) and not hasattr(value, "indices"):  # sparse outputs are more than an array
        value = getattr(value, "array", value)
    return value if isinstance(value, numpy.ndarray) else None


def base64_text(content: bytes) -> str:
    """Return the base64 of bytes, encoded piece by piece."""
    view = memoryview(content)
    pieces = (base64.b64encode(view[start : start + PIECE_BYTES]) for start in range(0, len(view), PIECE_BYTES))
    return b"".join(pieces).decode("ascii")


def _converted(value: object, convert: Callable[[Any], object], path: str) -> Any:
    content = as_bytes(value)
    if content is not None:
        return {"type": "bytes", "base64": base64_text(content)}
    if isinstance(value, list | tuple):
        return [_converted(item, convert, f"{path}[{index}]") for index, item in enumerate(value)]
    numbers = as_array(value)
    if numbers is not None:
        return convert(numbers) if numbers.dtype.kind in NUMBER_KINDS else _non_numeric(numbers, convert, path)
    parts = _parts(value)
    if parts is None:
        return _scalar(value, path)
    return {_key(name, path): _converted(item, convert, f"{path}.{name}") for name, item in parts.items()}


def _scalar(value: object, path: str) -> Any:
    """Convert a single value; types that JSON lacks become text if that is unambiguous."""
    if isinstance(value, Enum):
        value = value.value
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        number: Any = value
        value = str(number) if number.dtype.kind in DATE_KINDS else number.item()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, TEXT_TYPES):
        return str(value)
    if isinstance(value, PathLike):
        return fspath(value)
    raise _no_form(value, path)


def _parts(value: object) -> Mapping[Any, object] | None:
    """Return the named parts of a mapping, a record or a sparse vector; None for anything else."""
    if isinstance(value, Mapping):
        return value
    if hasattr(value, "model_dump"):
        model: Any = value
        parts: Mapping[Any, object] = model.model_dump()
        return parts
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if hasattr(value, "indices") and hasattr(value, "values"):
        named = {name: getattr(value, name) for name in ("indices", "values")}
        tokens = getattr(value, "tokens", None)
        return named if tokens is None else {**named, "tokens": tokens}
    return None


def _non_numeric(array: Any, convert: Callable[[Any], object], path: str) -> Any:
    """Convert the items of an array of other types than numbers, such as texts or bytes."""
    if array.dtype.kind in DATE_KINDS:
        return array.astype(str).tolist()
    if array.dtype.kind in "OUS":
        return _converted(array.tolist(), convert, path)
    raise _no_form(array, path)


def _key(name: object, path: str) -> str:
    if isinstance(name, str):
        return name
    if isinstance(name, Enum) or not isinstance(name, int | float | bool | date | UUID):
        message = f"{path.removeprefix('.') or 'it'} has a key of type {type(name).__name__}: keys must be text"
        raise TypeError(message)
    return str(name)


def _no_form(value: object, path: str) -> TypeError:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    dtype = getattr(value, "dtype", None)
    of = "" if dtype is None else f" of {dtype}"
    message = f"{path.removeprefix('.') or 'it'} is a {kind}{of}, which has no JSON representation"
    return TypeError(message)
