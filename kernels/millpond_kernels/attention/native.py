"""Compiled attention of short sequences, on CPUs in float32; other sequences go to ``attention.sdpa``."""

from functools import cache
from typing import TYPE_CHECKING

import torch

from millpond.nn import EqualLengthGroup, op_threads
from millpond_kernels.attention.reference import ALIGNMENT
from millpond_kernels.attention.sdpa import attend_group
from millpond_kernels.native import FLOAT, INT, POINTER, capability, function
from millpond_modeling.distance_bias import DistanceBias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from millpond.nn import AttentionBias, AttentionSpec, PackedBatch

MAX_TOKENS = {"AVX512": 1024, "AVX2": 256, "NEON": 256}  # for longer sequences torch's kernel is as fast
MAX_TOKENS_WITH_BIAS = 8192  # torch's kernel needs a bias of [length, length] and takes four times as long
FLOAT_BYTES = 4
HEAD_DIM_MULTIPLE = 16  # of heads that the compiled code supports


def attention(
    query: "Tensor",
    key: "Tensor",
    value: "Tensor",
    batch: "PackedBatch",
    spec: "AttentionSpec",
    bias: "AttentionBias | None" = None,
) -> "Tensor":
    """The op ``attention``; see ``attention.reference`` for its arguments."""
    bias_values = _bias_values(bias, query, batch.max_length)
    longest = 0 if bias is not None and bias_values is None else _longest_compiled(query, key, value, spec)
    compiled = [group for group in batch.equal_length_groups if group.length <= longest]
    output = torch.empty_like(query, memory_format=torch.contiguous_format)
    if compiled:
        _attend("millpond_attention", query, key, value, compiled, spec.scale, output, (bias_values,))
    if len(compiled) < len(batch.equal_length_groups):
        others = [group for group in batch.equal_length_groups if group.length > longest]
        _attend_others(query, key, value, others, spec, output, bias)
    return output


def attention_int8(
    query: "Tensor", key: "Tensor", value: "Tensor", batch: "PackedBatch", spec: "AttentionSpec"
) -> "Tensor":
    """The op ``attention`` with products in 8-bit integers; see ``attention.reference`` for its arguments."""
    return _attention_converted("millpond_attention_int8", query, key, value, batch, spec)


def attention_bf16(
    query: "Tensor", key: "Tensor", value: "Tensor", batch: "PackedBatch", spec: "AttentionSpec"
) -> "Tensor":
    """The op ``attention`` with products in bfloat16; see ``attention.reference`` for its arguments."""
    return _attention_converted("millpond_attention_bf16", query, key, value, batch, spec)


def _attention_converted(
    name: str, query: "Tensor", key: "Tensor", value: "Tensor", batch: "PackedBatch", spec: "AttentionSpec"
) -> "Tensor":
    longest = _longest_compiled(query, key, value, spec)
    compiled = [group for group in batch.equal_length_groups if group.length <= longest and not group.num_masked]
    output = torch.empty_like(query, memory_format=torch.contiguous_format)
    if compiled:
        _attend(name, query, key, value, compiled, spec.scale, output)
    if len(compiled) < len(batch.equal_length_groups):
        others = [group for group in batch.equal_length_groups if group.length > longest or group.num_masked]
        _attend_others(query, key, value, others, spec, output)
    return output


def _bias_values(bias: "AttentionBias | None", query: "Tensor", length: int) -> "Tensor | None":
    """Return the values of a bias for the compiled code, [heads, 2 * n - 1]; None if it does not support the bias."""
    if not isinstance(bias, DistanceBias):
        return None
    values = bias.values
    fits = values.is_cpu and values.size(0) == query.size(1) and bias.middle >= length - 1 and values.size(1) % 2
    return values.float().contiguous() if fits else None


def _attend_others(
    query: "Tensor",
    key: "Tensor",
    value: "Tensor",
    groups: "list[EqualLengthGroup]",
    spec: "AttentionSpec",
    output: "Tensor",
    bias: "AttentionBias | None" = None,
) -> None:
    aligned = all(x.stride(0) % ALIGNMENT == 0 for x in (query, key, value))
    for group in groups:
        for sequence in _sequences(group):
            rows = slice(sequence.start, sequence.stop)
            if aligned or bias is not None:
                output[rows] = attend_group(query, key, value, sequence, spec, bias)
                continue
            # torch's rounding depends on the address of a row: copies of sequences have the same alignment.
            q, k, v = (x[rows].clone() for x in (query, key, value))
            copied = EqualLengthGroup(0, 1, sequence.length, sequence.num_masked)
            output[rows] = attend_group(q, k, v, copied, spec)


def _sequences(group: "EqualLengthGroup") -> "Iterator[EqualLengthGroup]":
    """Yield each sequence as a group: torch's order of summation depends on the number of sequences in a call."""
    for start in range(group.start, group.stop, group.length):
        yield EqualLengthGroup(start, 1, group.length, group.num_masked)


def _longest_compiled(query: "Tensor", key: "Tensor", value: "Tensor", spec: "AttentionSpec") -> int:
    """Return the maximum length that the compiled code supports for these tensors; 0 if it does not support them."""
    for x in (query, key, value):
        if not (x.is_cpu and x.dtype is torch.float32 and x.stride(2) == 1 and x.stride(1) == x.size(2)):
            return 0
    heads, head_dim = query.shape[1:]
    aligned = key.shape == value.shape == (query.size(0), key.size(1), head_dim) and heads % key.size(1) == 0
    if spec.causal or not aligned or head_dim % HEAD_DIM_MULTIPLE:
        return 0
    longest = longest_sequence() if spec.bias is None else MAX_TOKENS_WITH_BIAS
    return longest if spec.window is None else min(longest, spec.window)


def _attend(
    name: str,
    query: "Tensor",
    key: "Tensor",
    value: "Tensor",
    groups: "list[EqualLengthGroup]",
    scale: float,
    output: "Tensor",
    biases: "tuple[Tensor | None, ...]" = (),
) -> None:
    """Call the compiled code. With ``biases`` (one bias or None), the function supports biases and masked tokens."""
    heads, head_dim = query.shape[1:]
    kv_heads = key.size(1)
    attend, scratch_size = _functions(name, takes_bias=bool(biases))
    bias_arguments = [(0, 0) if values is None else (values.data_ptr(), values.size(1)) for values in biases]
    threads = op_threads.count()
    scratch = torch.empty(threads * scratch_size(max(group.length for group in groups), head_dim), dtype=torch.uint8)
    addresses = [(x.data_ptr(), x.stride(0)) for x in (query, key, value, output)]
    strides = [stride for _, stride in addresses[:3]]
    for group in groups:
        *rows, results = [start + FLOAT_BYTES * stride * group.start for start, stride in addresses]
        attend(
            *rows,
            *strides,
            group.count,
            group.length,
            heads,
            kv_heads,
            head_dim,
            scale,
            results,
            scratch.data_ptr(),
            threads,
            *((group.num_attended, *bias_arguments[0]) if bias_arguments else ()),
        )


@cache
def longest_sequence() -> int:
    """Return the maximum length of sequences that the compiled code supports without a bias."""
    return MAX_TOKENS.get(capability(), 0)


@cache
def _functions(name: str, *, takes_bias: bool) -> "tuple[Callable[..., None], Callable[[int, int], int]]":
    bias_types = (INT, POINTER, INT) if takes_bias else ()
    attend = function(name, *[POINTER] * 3, *[INT] * 8, FLOAT, POINTER, POINTER, INT, *bias_types)
    return attend, function(f"{name}_scratch", INT, INT, returns=INT)
