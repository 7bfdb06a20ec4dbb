"""The kinds of numbers that vectors are given in, by the names of Cohere and Jina."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from millpond_server.http.array_encoding import Array, to_base64, to_bits, to_int8, to_signed_bits, to_uint8
from millpond_server.http.errors import ApiError

KINDS: Mapping[str, Callable[[Array], Any]] = {
    "float": lambda array: array,
    "int8": to_int8,
    "uint8": to_uint8,
    "binary": to_signed_bits,
    "ubinary": to_bits,
    "base64": to_base64,
}
BITS = ("binary", "ubinary")


def by_type(arrays: list[Array], kinds: list[Any]) -> dict[str, Any]:
    """Vectors in each of the kinds that are asked for.

    Raises:
        ApiError: If bits are asked for of a number of dimensions that fills no whole bytes.
    """
    check_bits(arrays[0].shape[-1], kinds)
    return {kind: [KINDS[kind](array) for array in arrays] for kind in dict.fromkeys(kinds)}


def check_bits(size: int, kinds: Sequence[str]) -> None:
    """Refuse bits of a number of dimensions that fills no whole bytes."""
    if size % 8 and any(kind in BITS for kind in kinds):
        message = f"Embedding dimension must be a multiple of 8 for binary embedding types, but got {size}."
        raise ApiError(400, message, parameter="embedding_types", reason="invalid")
