"""Entries of a cache: the key of a sequence, and its results as bytes with a checksum."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from millpond.engine.request import PoolingRequest
from millpond.types.params import PoolingParams

KEY_BYTES, CHECKSUM_BYTES = 32, 16
# Fields of parameters that only change the tokens of a sequence, which are part of the key.
TOKEN_FIELDS = frozenset(
    {
        "task",
        "truncate_prompt_tokens",
        "truncation_side",
        "pad_prompt_tokens",
        "add_special_tokens",
        "on_overflow",
        "prompt",
        "prompt_name",
        "skip_reading_prefix_cache",
    }
)
SHAPE = struct.Struct("<4sB")  # dtype, number of dimensions
SIZE = struct.Struct("<Q")


class UncacheableError(Exception):
    """A sequence contains a value that has no canonical bytes."""


class KeyBuilder:
    """Builds the keys of the sequences of one model.

    Args:
        fingerprint: The fingerprint of the model.
        all_fields: True to include every field of the parameters, for poolers of plugins, which may read any of them.
    """

    def __init__(self, fingerprint: str, *, all_fields: bool = False) -> None:
        self._fingerprint = fingerprint.encode()
        self._excluded = frozenset[str]() if all_fields else TOKEN_FIELDS

    def keys(self, requests: Sequence[PoolingRequest], owner: bytes) -> list[bytes | None]:
        """Return the key of each sequence; None if it has no key.

        Args:
            requests: The sequences.
            owner: The owner of the entries; owners never share an entry.
        """
        start = blake2b(digest_size=KEY_BYTES)
        _add(start, self._fingerprint)
        _add(start, owner)
        params: dict[int, bytes | None] = {}  # sequences of a call share their parameters
        return [self._key(start.copy(), request, params) for request in requests]

    def _key(self, digest: Any, request: PoolingRequest, params: dict[int, bytes | None]) -> bytes | None:
        _add(digest, _id_bytes(request.input_ids))
        _add(digest, b"" if request.token_type_ids is None else _id_bytes(request.token_type_ids))
        _add(digest, request.route.encode())
        for representation in request.representations:
            number = id(representation.params)
            if number not in params:
                params[number] = self._params(representation.params)
            encoded = params[number]
            if encoded is None:
                return None
            _add(digest, representation.task.encode())
            _add(digest, encoded)
            _add(digest, repr(representation.span).encode())
        if request.features:
            try:
                add_value(digest, request.features)
            except UncacheableError:
                return None
        key: bytes = digest.digest()
        return key

    def _params(self, params: PoolingParams) -> bytes | None:
        values = params.model_dump(exclude=set(self._excluded), exclude_none=True)
        digest = blake2b(digest_size=KEY_BYTES)
        try:
            add_value(digest, values)
        except UncacheableError:
            return None
        return digest.digest()


def _id_bytes(ids: NDArray[np.int64]) -> bytes:
    """Return ids as bytes. Plugins may use other integer types: [1, 0] in 32 bits has the bytes of [1]."""
    return np.asarray(ids, np.int64).tobytes()


def _add(digest: Any, content: "bytes | memoryview") -> None:
    digest.update(SIZE.pack(len(content)))  # so that two different sequences of contents never have the same bytes
    digest.update(content)


def add_value(digest: Any, value: object) -> None:
    """Add plain values, containers, arrays and tensors to a hash, each with its type.

    Raises:
        UncacheableError: If it contains another object.
    """
    if value is None or isinstance(value, bool | int | float | str | bytes):
        _add(digest, type(value).__name__.encode())
        _add(digest, value if isinstance(value, bytes) else repr(value).encode())
    elif isinstance(value, Mapping):
        _add(digest, b"mapping%d" % len(value))
        for name in sorted(value, key=repr):
            add_value(digest, name)
            add_value(digest, value[name])
    elif isinstance(value, list | tuple):
        _add(digest, b"sequence%d" % len(value))
        for item in value:
            add_value(digest, item)
    elif is_dataclass(value) and not isinstance(value, type):
        _add(digest, type(value).__qualname__.encode())
        add_value(digest, {field.name: getattr(value, field.name) for field in fields(value)})
    else:
        _add_array(digest, value)


def _add_array(digest: Any, value: object) -> None:
    if isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_quantized:
        _add(digest, f"tensor {value.dtype} {tuple(value.shape)}".encode())
        contiguous = value.detach().cpu().contiguous()
        _add(digest, contiguous.reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        _add(digest, f"array {value.dtype.str} {value.shape}".encode())
        _add(digest, value.tobytes())
    else:
        raise UncacheableError(type(value).__name__)


def encode_entry(key: bytes, arrays: Sequence[NDArray[Any]]) -> bytes:
    """Return arrays as bytes: a checksum of key and content, then dtype, shape and values of each array."""
    parts: list[bytes] = []
    for array in arrays:
        parts.append(SHAPE.pack(array.dtype.str.encode(), array.ndim))
        parts += [SIZE.pack(length) for length in array.shape]
        parts.append(array.tobytes())
    content = b"".join(parts)
    return _checksum(key, content) + content


def decode_entry(key: bytes, entry: bytes) -> list[NDArray[np.float32]] | None:
    """Return the arrays of an entry as copies that the caller may change; None if the entry is damaged.

    Args:
        key: The key of the entry.
        entry: The bytes of ``encode_entry``.
    """
    view = memoryview(entry)
    content = view[CHECKSUM_BYTES:]
    if bytes(view[:CHECKSUM_BYTES]) != _checksum(key, content):
        return None
    arrays: list[NDArray[Any]] = []
    position = 0
    while position < len(content):
        name, ndim = SHAPE.unpack_from(content, position)
        position += SHAPE.size
        shape = struct.unpack_from(f"<{ndim}Q", content, position)
        position += ndim * SIZE.size
        dtype = np.dtype(name.rstrip(b"\0").decode())
        array: NDArray[Any] = np.ndarray(shape, dtype, content, position).copy()
        arrays.append(array)
        position += array.nbytes
    return arrays


def _checksum(key: bytes, content: "bytes | memoryview") -> bytes:
    digest = blake2b(key, digest_size=CHECKSUM_BYTES)
    digest.update(content)
    return digest.digest()
