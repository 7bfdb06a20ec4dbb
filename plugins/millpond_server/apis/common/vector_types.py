"""Conversion of vectors to the embedding types of Cohere and Jina, such as int8 and binary."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from millpond_server.http.array_encoding import Array, to_base64, to_bits, to_int8, to_signed_bits, to_uint8
from millpond_server.http.errors import ApiError

CONVERTERS: Mapping[str, Callable[[Array], Any]] = {
    "float": lambda array: array,
    "int8": to_int8,
    "uint8": to_uint8,
    "binary": to_signed_bits,
    "ubinary": to_bits,
    "base64": to_base64,
}
BINARY_TYPES = ("binary", "ubinary")


def convert_vectors(arrays: list[Array], types: Sequence[str]) -> dict[str, Any]:
    """Return the vectors in each of the requested embedding types.

    Raises:
        ApiError: 400 for a binary type if the number of dimensions is not a multiple of 8.
    """
    check_binary_size(arrays[0].shape[-1], types)
    return {name: [CONVERTERS[name](array) for array in arrays] for name in dict.fromkeys(types)}


def check_binary_size(size: int, types: Sequence[str]) -> None:
    """Refuse binary types if the number of dimensions is not a multiple of 8.

    Raises:
        ApiError: 400 with the number of dimensions.
    """
    if size % 8 and any(name in BINARY_TYPES for name in types):
        message = f"Embedding dimension must be a multiple of 8 for binary embedding types, but got {size}."
        raise ApiError(400, message, parameter="embedding_types", reason="invalid")
