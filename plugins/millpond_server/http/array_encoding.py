"""Encoding of arrays as bytes or base64, in several dtypes and byte orders, without Python lists."""

import base64
import sys
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

DType = Literal["float32", "float16", "bfloat16", "fp8_e4m3", "fp8_e5m2"]
Endianness = Literal["native", "little", "big"]
Array = NDArray[np.float32]


def to_bytes(array: Array, dtype: DType = "float32", endianness: Endianness = "little") -> bytes:
    """Return the values of an array in a dtype and byte order. bfloat16 takes two bytes per value, fp8 one."""
    values = _cast(array, dtype)
    byte_order = sys.byteorder if endianness == "native" else endianness
    return (values if byte_order == sys.byteorder else values.byteswap()).tobytes()


def to_base64(array: Array, dtype: DType = "float32", endianness: Endianness = "little") -> str:
    """Return the values of an array as base64; little-endian by default, which OpenAI's clients expect."""
    return base64.b64encode(to_bytes(array, dtype, endianness)).decode("ascii")


class Base64:
    """An array that is encoded while its response is written: encoding thousands at once would block the event loop.

    It is not a dataclass, because orjson serializes dataclasses itself.
    """

    __slots__ = ("array", "dtype", "endianness")

    def __init__(self, array: Array, dtype: DType = "float32", endianness: Endianness = "little") -> None:
        self.array = array
        self.dtype: DType = dtype
        self.endianness: Endianness = endianness

    def __str__(self) -> str:
        return to_base64(self.array, self.dtype, self.endianness)


def _cast(array: Array, dtype: DType) -> NDArray[Any]:
    if dtype == "float32":
        return np.ascontiguousarray(array, dtype=np.float32)
    if dtype == "float16":
        return np.ascontiguousarray(array, dtype=np.float16)
    import torch  # noqa: PLC0415  NumPy lacks these dtypes

    tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    if dtype == "bfloat16":
        return tensor.to(torch.bfloat16).view(torch.uint16).numpy()
    float8 = torch.float8_e4m3fn if dtype == "fp8_e4m3" else torch.float8_e5m2
    return tensor.to(float8).view(torch.uint8).numpy()


def to_bits(array: Array) -> NDArray[np.uint8]:
    """Return one bit per value, 1 if it is not negative, packed with the first bit highest: Cohere's ``ubinary``."""
    return np.packbits(array >= 0, axis=-1)


def to_signed_bits(array: Array) -> NDArray[np.int8]:
    """Return the bytes of ``to_bits`` minus 128: Cohere's ``binary``."""
    return (to_bits(array).astype(np.int16) - 128).astype(np.int8)


def to_int8(array: Array) -> NDArray[np.int8]:
    """Return values from -1 to 1 as integers from -127 to 127, clipped: Cohere's ``int8``."""
    scaled: Array = np.clip(np.rint(array * np.float32(127)), -127, 127)
    return scaled.astype(np.int8)


def to_uint8(array: Array) -> NDArray[np.uint8]:
    """Return the integers of ``to_int8`` plus 127: Cohere's ``uint8``."""
    return (to_int8(array).astype(np.int16) + 127).astype(np.uint8)
