"""Attention of short sequences by compiled code, on a CPU in float32; all others go to ``attention_sdpa``."""

from functools import cache
from typing import TYPE_CHECKING

import torch

from millpond_kernels.attention_sdpa import attend_run
from millpond_kernels.native import FLOAT, INT, POINTER, capability, function

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from millpond.nn import AttentionSpec, PackedBatch, Run

LONGEST = {"AVX512": 256, "AVX2": 64}  # tokens; beyond, torch's kernel is as fast, and can use several threads
VECTOR = 16  # floats; the compiled code takes heads of whole vectors


def attention(query: "Tensor", key: "Tensor", value: "Tensor", batch: "PackedBatch", spec: "AttentionSpec") -> "Tensor":
    """The op ``attention``; see ``attention_reference`` for its arguments."""
    output = torch.empty_like(query, memory_format=torch.contiguous_format)
    for run in batch.runs:
        if _fits(query, key, value, run, spec):
            _attend(query, key, value, run, spec, output)
        else:
            output[run.start : run.stop] = attend_run(query, key, value, run, spec)
    return output


def _fits(query: "Tensor", key: "Tensor", value: "Tensor", run: "Run", spec: "AttentionSpec") -> bool:
    plain = not spec.causal and (spec.window is None or spec.window >= run.length)
    packed = all(x.stride(2) == 1 and x.stride(1) == x.shape[2] for x in (query, key, value))
    return plain and packed and run.length <= _longest() and query.shape[2] % VECTOR == 0


def _attend(
    query: "Tensor", key: "Tensor", value: "Tensor", run: "Run", spec: "AttentionSpec", output: "Tensor"
) -> None:
    heads, head_dim = query.shape[1:]
    attend, scratch_size = _functions()
    scratch = torch.empty(scratch_size(run.length, head_dim))
    rows = [x[run.start : run.stop] for x in (query, key, value)]
    attend(
        *(x.data_ptr() for x in rows),
        *(x.stride(0) for x in rows),
        run.count,
        run.length,
        heads,
        key.shape[1],
        head_dim,
        spec.scale,
        output[run.start :].data_ptr(),
        scratch.data_ptr(),
    )


@cache
def _longest() -> int:
    return LONGEST.get(capability(), 0)


@cache
def _functions() -> "tuple[Callable[..., None], Callable[..., int]]":
    attend = function("millpond_attention", *[POINTER] * 3, *[INT] * 8, FLOAT, POINTER, POINTER)
    scratch_size = function("millpond_attention_scratch", INT, INT, returns=INT)
    return attend, scratch_size
