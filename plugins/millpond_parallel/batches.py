"""Conversion of batches and their results to messages between processes."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from millpond.engine.executor import Outcome
from millpond.engine.request import PoolingRequest, Representation, SharedPrefix
from millpond_parallel.errors import PackedError, pack_error, unpack_error

INT32 = np.iinfo(np.int32)
MAX_PREFIXES: Final = 2
"""The number of prefixes whose states an engine process keeps for later batches of their calls."""


class PackedBatch(NamedTuple):
    """The requests of a batch.

    Attributes:
        ids: The token ids of all requests, [num_tokens], int32.
        lengths: The number of tokens of each request.
        token_types: The token types of all requests, [num_tokens]; None if no request has any.
        has_types: True for each request that has token types; the types of the others are 0.
        representations: The requested results of each request.
        features: The features of each request; None if no request has any.
        routes: The route of each request; None if no request has one.
        prefixes: The number and the length of the prefix that each request shares; None if no request shares any.
    """

    ids: NDArray[Any]
    lengths: NDArray[np.int64]
    token_types: NDArray[Any] | None
    has_types: list[bool]
    representations: list[tuple[Representation, ...]]
    features: list[Mapping[str, object]] | None
    routes: list[str] | None
    prefixes: list[tuple[int, int] | None] | None


class PackedResults(NamedTuple):
    """The outcome of a batch.

    Attributes:
        values: The numbers of all results, [num_values], float32.
        shapes: The shapes of the results of each request.
        errors: The errors of requests, by their index in the batch.
        error: The error of the whole batch.
        shared_tokens: The number of tokens that were not computed, because other requests begin with them.
    """

    values: NDArray[np.float32]
    shapes: list[list[tuple[int, ...]]]
    errors: dict[int, PackedError]
    error: PackedError | None
    shared_tokens: int = 0


class KnownPrefixes:
    """The prefixes of recent batches in an engine process, with the states that the model computed for them."""

    def __init__(self) -> None:
        self._by_number: OrderedDict[int, SharedPrefix] = OrderedDict()

    def find(self, number: int, ids: NDArray[np.int64]) -> SharedPrefix:
        """Return the prefix with that number in the program."""
        prefix = self._by_number.setdefault(number, SharedPrefix(ids))
        self._by_number.move_to_end(number)
        if len(self._by_number) > MAX_PREFIXES:
            self._by_number.popitem(last=False)
        return prefix


def pack_batch(requests: Sequence[PoolingRequest]) -> PackedBatch:
    """Return the message of a batch."""
    features = [_contiguous(request.features) for request in requests]
    routes = [request.route for request in requests]
    has_types = [request.token_type_ids is not None for request in requests]
    prefixes = [_prefix(request) for request in requests]
    return PackedBatch(
        ids=_narrow(np.concatenate([request.input_ids for request in requests])),
        lengths=np.array([len(request.input_ids) for request in requests]),
        token_types=_token_types(requests) if any(has_types) else None,
        has_types=has_types,
        representations=[request.representations for request in requests],
        features=features if any(features) else None,
        routes=routes if any(routes) else None,
        prefixes=prefixes if any(prefixes) else None,
    )


def unpack_batch(batch: PackedBatch, known: KnownPrefixes) -> list[PoolingRequest]:
    """Return the requests of a message."""
    ids = batch.ids.astype(np.int64, copy=False)
    bounds = list(pairwise(accumulate(batch.lengths.tolist(), initial=0)))
    requests: list[PoolingRequest] = []
    for index, (start, stop) in enumerate(bounds):
        request = PoolingRequest(input_ids=ids[start:stop], representations=batch.representations[index])
        if batch.token_types is not None and batch.has_types[index]:
            request.token_type_ids = batch.token_types[start:stop]
        if batch.features is not None:
            request.features = batch.features[index]
        if batch.routes is not None:
            request.route = batch.routes[index]
        if batch.prefixes is not None and (shared := batch.prefixes[index]) is not None:
            number, length = shared
            request.state.prefix = known.find(number, request.input_ids[:length])
        requests.append(request)
    return requests


def pack_results(outcome: Outcome) -> PackedResults:
    """Return the message of an outcome."""
    requests = outcome.requests
    if outcome.error is not None:
        return pack_failure(outcome.error)
    arrays = [array.ravel() for request in requests for array in request.results]
    return PackedResults(
        values=np.concatenate(arrays, dtype=np.float32) if arrays else np.empty(0, np.float32),
        shapes=[[array.shape for array in request.results] for request in requests],
        errors={
            index: pack_error(request.error) for index, request in enumerate(requests) if request.error is not None
        },
        error=None,
        shared_tokens=outcome.shared_tokens,
    )


def pack_failure(error: BaseException) -> PackedResults:
    """Return the message of a batch that failed as a whole."""
    return PackedResults(np.empty(0, np.float32), [], {}, pack_error(error))


def unpack_results(results: PackedResults, requests: list[PoolingRequest]) -> Outcome:
    """Set the results and errors of the requests of a batch, and return its outcome."""
    if results.error is not None:
        return Outcome(requests, unpack_error(results.error))
    position = 0
    for index, request in enumerate(requests):
        arrays: list[NDArray[np.float32]] = []
        for shape in results.shapes[index]:
            size = int(np.prod(shape, dtype=np.int64))
            arrays.append(results.values[position : position + size].reshape(shape))
            position += size
        request.results = arrays
        error = results.errors.get(index)
        request.error = None if error is None else unpack_error(error)  # type: ignore[assignment]  # a MillpondError
    return Outcome(requests, None, results.shared_tokens)


def _prefix(request: PoolingRequest) -> tuple[int, int] | None:
    prefix = request.state.prefix
    return None if prefix is None else (prefix.number, len(prefix.ids))


def _narrow(ids: NDArray[np.int64]) -> NDArray[Any]:
    """Return token ids as int32, unless a plugin's ids need more bits."""
    if ids.size and (ids.min() < INT32.min or ids.max() > INT32.max):
        return ids
    return ids.astype(np.int32)


def _token_types(requests: Sequence[PoolingRequest]) -> NDArray[Any]:
    arrays = [
        np.zeros_like(request.input_ids) if request.token_type_ids is None else request.token_type_ids
        for request in requests
    ]
    return np.concatenate(arrays)


def _contiguous(features: Mapping[str, object]) -> Mapping[str, object]:
    """Return features whose arrays can be copied without pickling."""
    if not features:
        return features
    return {
        name: value.copy() if isinstance(value, np.ndarray) and not value.flags.c_contiguous else value
        for name, value in features.items()
    }
