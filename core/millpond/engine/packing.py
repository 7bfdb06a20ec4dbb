"""Packing of requests into a batch: equal sequences once, and the groups of sequences that begin alike."""

from collections.abc import Sequence

import torch

from millpond.engine.request import PoolingRequest, SharedPrefix
from millpond.nn.batch import PackedBatch
from millpond.nn.shared_rows import PrefixGroup


def distinct_sequences(requests: Sequence[PoolingRequest]) -> tuple[dict[PoolingRequest, int], list[PoolingRequest]]:
    """Return the position of each request's sequence among the distinct sequences, and these, shortest first."""
    if len(requests) == 1:
        return {requests[0]: 0}, list(requests)
    ordered = sorted(requests, key=lambda request: request.num_tokens)
    positions: dict[PoolingRequest, int] = {}
    position_of_key: dict[object, int] = {}
    distinct: list[PoolingRequest] = []
    for request in ordered:
        types = request.token_type_ids
        key: object = id(request)
        if not request.features:
            types_key = None if types is None else types.tobytes()
            key = (request.input_ids.tobytes(), types_key, request.adapter, request.route)
        position = position_of_key.setdefault(key, len(distinct))
        if position == len(distinct):
            distinct.append(request)
        positions[request] = position
    return positions, distinct


def pack(sequences: Sequence[PoolingRequest], device: torch.device | None) -> PackedBatch:
    """Return a batch of complete sequences; on the host if the device is None."""
    ids, types, features, adapters, routes = [], [], [], [], []
    has_types = False
    for request in sequences:
        ids.append(request.input_ids)
        types.append(request.token_type_ids)
        features.append(request.features)
        adapters.append(request.adapter)
        routes.append(request.route)
        has_types = has_types or request.token_type_ids is not None
    return PackedBatch.pack(
        ids,
        token_type_ids=types if has_types else (),
        features=features if any(features) else (),
        adapters=adapters if any(adapters) else (),
        routes=routes,
        device=device,
    )


def prefix_groups(sequences: Sequence[PoolingRequest]) -> dict[SharedPrefix, PrefixGroup]:
    """Return the sequences that begin with each shared prefix."""
    groups: dict[SharedPrefix, PrefixGroup] = {}
    for index, request in enumerate(sequences):
        prefix = request.state.prefix
        if prefix is None:
            continue
        if prefix not in groups:
            groups[prefix] = PrefixGroup(len(prefix.ids), states=prefix.states)
        groups[prefix].members.append(index)
    return groups
