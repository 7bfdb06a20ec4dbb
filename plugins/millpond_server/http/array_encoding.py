"""Arrays as bytes: dtypes, byte orders and base64, written from the array and never through lists."""

import base64
import sys
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

DType = Literal["float32", "float16", "bfloat16", "fp8_e4m3", "fp8_e5m2"]
Endianness = Literal["native", "little", "big"]
Array = NDArray[np.float32]


def to_bytes(array: Array, dtype: DType = "float32", endianness: Endianness = "little") -> bytes:
    """The values of an array in another dtype and byte order; bfloat16 takes two bytes a value, fp8 one."""
    encoded = _cast(array, dtype)
    wanted = sys.byteorder if endianness == "native" else endianness
    return (encoded if wanted == sys.byteorder else encoded.byteswap()).tobytes()


def to_base64(array: Array, dtype: DType = "float32", endianness: Endianness = "little") -> str:
    """The same as base64; little-endian where nothing is said, as the clients of OpenAI decode it."""
    return base64.b64encode(to_bytes(array, dtype, endianness)).decode("ascii")


class Base64:
    """An array that is encoded when its answer is written: encoding thousands at once would hold up all others.

    It is not a dataclass, for orjson writes those by itself.
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
    import torch  # noqa: PLC0415  numpy has no such dtypes

    tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    if dtype == "bfloat16":
        return tensor.to(torch.bfloat16).view(torch.uint16).numpy()
    kind = torch.float8_e4m3fn if dtype == "fp8_e4m3" else torch.float8_e5m2
    return tensor.to(kind).view(torch.uint8).numpy()


def to_bits(array: Array) -> NDArray[np.uint8]:
    """One bit a value, 1 where it is not negative, eight a byte, the first the highest: Cohere's ``ubinary``."""
    return np.packbits(array >= 0, axis=-1)


def to_signed_bits(array: Array) -> NDArray[np.int8]:
    """The same less 128: Cohere's ``binary``."""
    return (to_bits(array).astype(np.int16) - 128).astype(np.int8)


def to_int8(array: Array) -> NDArray[np.int8]:
    """Values from -1 to 1 as whole numbers from -127 to 127, those beyond cut off: Cohere's ``int8``."""
    scaled: Array = np.clip(np.rint(array * np.float32(127)), -127, 127)
    return scaled.astype(np.int8)


def to_uint8(array: Array) -> NDArray[np.uint8]:
    """The same and 127: Cohere's ``uint8``."""
    return (to_int8(array).astype(np.int16) + 127).astype(np.uint8)
