"""Attention of short sequences by compiled code, on a CPU in float32; all others go to ``attention_sdpa``."""

from functools import cache
from typing import TYPE_CHECKING

import torch

from millpond.nn import Run
from millpond_kernels.attention_sdpa import attend_run
from millpond_kernels.native import FLOAT, INT, POINTER, capability, function
from millpond_kernels.native.parts import in_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from millpond.nn import AttentionSpec, PackedBatch

LONGEST = {"AVX512": 1024, "AVX2": 256}  # tokens; beyond, torch's kernel is as fast
VECTOR = 16  # floats; the compiled code takes heads of whole vectors


def attention(query: "Tensor", key: "Tensor", value: "Tensor", batch: "PackedBatch", spec: "AttentionSpec") -> "Tensor":
    """The op ``attention``; see ``attention_reference`` for its arguments."""
    return _attention("millpond_attention", query, key, value, batch, spec)


def attention_int8(
    query: "Tensor", key: "Tensor", value: "Tensor", batch: "PackedBatch", spec: "AttentionSpec"
) -> "Tensor":
    """The op ``attention`` with products in 8-bit integers; see ``attention_reference`` for its arguments."""
    return _attention("millpond_attention_int8", query, key, value, batch, spec)


def _attention(
    name: str, query: "Tensor", key: "Tensor", value: "Tensor", batch: "PackedBatch", spec: "AttentionSpec"
) -> "Tensor":
    output = torch.empty_like(query, memory_format=torch.contiguous_format)
    for run in batch.runs:
        if _fits(query, key, value, run, spec):
            _attend(name, query, key, value, run, spec.scale, output)
        else:
            for one in _one_by_one(run):
                output[one.start : one.stop] = attend_run(query, key, value, one, spec)
    return output


def _one_by_one(run: "Run") -> "Iterator[Run]":
    """Each sequence for itself: of several at once, torch sums in an order that depends on how many there are."""
    for start in range(run.start, run.stop, run.length):
        yield Run(start, 1, run.length)


def _fits(query: "Tensor", key: "Tensor", value: "Tensor", run: "Run", spec: "AttentionSpec") -> bool:
    plain = not spec.causal and (spec.window is None or spec.window >= run.length)
    tensors = (query, key, value)
    packed = all(x.stride(2) == 1 and x.stride(1) == x.shape[2] for x in tensors)
    floats = all(x.dtype is torch.float32 and x.device.type == "cpu" for x in tensors)
    aligned = key.shape == value.shape and key.shape[::2] == query.shape[::2] and query.shape[1] % key.shape[1] == 0
    return plain and packed and floats and aligned and run.length <= _longest() and query.shape[2] % VECTOR == 0


def _attend(
    name: str, query: "Tensor", key: "Tensor", value: "Tensor", run: "Run", scale: float, output: "Tensor"
) -> None:
    heads, head_dim = query.shape[1:]
    kv_heads = key.shape[1]
    shared = heads // kv_heads
    attend, scratch_size = _functions(name)
    rows = [x[run.start : run.stop] for x in (query, key, value)]
    results = output[run.start : run.stop]

    def attend_heads(start: int, stop: int) -> None:
        scratch = torch.empty(scratch_size(run.length, head_dim), dtype=torch.uint8)
        attend(
            *(x.data_ptr() for x in rows),
            *(x.stride(0) for x in rows),
            run.count,
            run.length,
            heads,
            kv_heads,
            head_dim,
            start * shared,
            stop * shared,
            scale,
            results.data_ptr(),
            scratch.data_ptr(),
        )

    in_parts(attend_heads, kv_heads, cost=4 * run.count * run.length**2 * heads * head_dim)


@cache
def _longest() -> int:
    return LONGEST.get(capability(), 0)


@cache
def _functions(name: str) -> "tuple[Callable[..., None], Callable[[int, int], int]]":
    attend = function(name, *[POINTER] * 3, *[INT] * 10, FLOAT, POINTER, POINTER)
    return attend, function(f"{name}_scratch", INT, INT, returns=INT)
