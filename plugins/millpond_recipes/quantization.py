"""Vectors in smaller types: half precision, scaled integers, bits."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BIT_DTYPES = ("binary", "ubinary")
INT8_MAX = 127


def quantize(vectors: "NDArray[np.float32]", dtype: str) -> "NDArray[Any]":
    """Return vectors, [n, dim], in another type.

    Args:
        vectors: Values from -1 to 1, as those of normalized vectors.
        dtype: "float32", "float16"; "int8" for round(127 x), "uint8" for the same plus 127; "ubinary" for one bit per
            value, 1 where it is not negative, the first in the highest bit of a byte; "binary" for the same minus 128.
    """
    if dtype in BIT_DTYPES:
        bits = np.packbits(vectors >= 0, axis=-1)
        return bits if dtype == "ubinary" else (bits.astype(np.int16) - 128).astype(np.int8)
    if dtype in ("int8", "uint8"):
        scaled = np.clip(np.rint(vectors * np.float32(INT8_MAX)), -INT8_MAX, INT8_MAX)
        return scaled.astype(np.int8) if dtype == "int8" else (scaled + INT8_MAX).astype(np.uint8)
    return vectors.astype(dtype, copy=False)
