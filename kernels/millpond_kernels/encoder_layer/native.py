"""The op ``encoder_layer`` in one call of compiled code: see encoder_layer.c."""

import ctypes
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from millpond.nn import op_threads
from millpond_kernels.attention.native import longest_sequence
from millpond_kernels.encoder_layer.reference import EncoderLayerReference, Norm
from millpond_kernels.linear.bf16 import LinearBf16Native
from millpond_kernels.linear.compiled import compiled_linears
from millpond_kernels.linear.int8 import LinearInt8Native
from millpond_kernels.linear.native import LinearNative
from millpond_kernels.native import FLOAT, INT, POINTER, function
from millpond_kernels.native.tensors import address, are_floats, rows_of_floats

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from millpond.nn import PackedBatch
    from millpond_kernels.linear.compiled import CompiledLinear

HEAD_DIM_MULTIPLE = 16  # of heads that the compiled code supports


class NormStruct(ctypes.Structure):
    """``struct norm`` of encoder_layer.c."""

    _fields_: ClassVar = [("bias", POINTER), ("weight", POINTER), ("shift", POINTER), ("eps", FLOAT)]


class LayerStruct(ctypes.Structure):
    """``struct layer`` of encoder_layer.c."""

    _fields_: ClassVar = [
        *((name, POINTER) for name in ("qkv", "output", "up", "down")),
        *((name, NormStruct) for name in ("attention_norm", "feed_forward_norm")),
        *((name, INT) for name in ("heads", "head_dim")),
        ("scale", FLOAT),
        ("converts_attention", INT),
    ]


class EncoderLayerNative(EncoderLayerReference):
    """An encoder layer in one call; ``EncoderLayerReference`` runs if the compiled code does not support the arguments.

    Attributes:
        kind: The kernel of ``linear`` that prepared the weights.
        converts_attention: True if attention is computed in the format of the weights too.
        layer: The addresses of the weights; None if the compiled code does not support them.
    """

    kind: "ClassVar[type[CompiledLinear]]" = LinearNative
    converts_attention: ClassVar[bool] = False
    layer: LayerStruct | None = None

    def __init__(self, **parts: Any) -> None:
        """Accept the arguments of ``EncoderLayerReference``."""
        super().__init__(**parts)
        up, down = (getattr(self.feed_forward, name, None) for name in ("up", "down"))
        linears = compiled_linears(self.kind, self.qkv, self.output, up, down)
        if linears is None or not self._supports(linears):
            return
        self.linears = linears  # keeps the weights alive while their addresses are in use
        self.size: int = linears[0].inputs
        self.layer = LayerStruct(
            *(linear.address for linear in linears),
            *(_addresses(norm) for norm in (self.attention_norm, self.feed_forward_norm)),
            self.num_heads,
            linears[1].inputs // self.num_heads,
            self.attention.spec.scale,
            self.converts_attention,
        )
        self.address = ctypes.addressof(self.layer)
        self.compute, self.memory_size = _functions(self.kind.suffix)
        self.longest = longest_sequence()

    def __call__(self, x: "Tensor", batch: "PackedBatch") -> "Tensor":
        """[num_tokens, size] -> [num_tokens, size]."""
        if self.layer is None or batch.max_length > self.longest or batch.num_masked:
            return super().__call__(x, batch)
        x = rows_of_floats(x, self.size)
        if x.size(0) != batch.num_tokens:
            message = f"x has {x.size(0)} rows, but the batch has {batch.num_tokens} tokens"
            raise ValueError(message)
        longest, threads = batch.max_length, op_threads.count()
        output = torch.empty_like(x)
        memory = torch.empty(self.memory_size(self.address, longest, threads), dtype=torch.uint8)
        self.compute(
            self.address,
            x.data_ptr(),
            output.data_ptr(),
            batch.lengths_on_host.data_ptr(),
            batch.num_seqs,
            longest,
            memory.data_ptr(),
            threads,
        )
        return output

    def _supports(self, linears: "Sequence[CompiledLinear]") -> bool:
        """Return True if the shapes are consistent and every array that the compiled code reads is present."""
        qkv, output, up, down = linears
        spec, size, width = self.attention.spec, qkv.inputs, output.inputs
        shapes = (qkv.outputs, output.outputs, up.inputs, down.inputs, down.outputs)
        plain = not spec.causal and spec.window is None and spec.softcap is None and spec.bias is None
        return (
            shapes == (3 * width, size, size, up.outputs, size)
            and plain
            and width % (HEAD_DIM_MULTIPLE * self.num_heads) == 0
            and up.bias is not None
            and all(_is_complete(norm, size) for norm in (self.attention_norm, self.feed_forward_norm))
        )


class EncoderLayerBf16Native(EncoderLayerNative):
    """An encoder layer with weights in bfloat16."""

    kind = LinearBf16Native


class EncoderLayerAllBf16Native(EncoderLayerBf16Native):
    """An encoder layer with weights and attention in bfloat16."""

    converts_attention = True


class EncoderLayerInt8Native(EncoderLayerNative):
    """An encoder layer with weights in 8-bit integers."""

    kind = LinearInt8Native


class EncoderLayerAllInt8Native(EncoderLayerInt8Native):
    """An encoder layer with weights and attention in 8-bit integers."""

    converts_attention = True


def _is_complete(norm: Norm, size: int) -> bool:
    """Return True if a norm has all vectors, in the format of the compiled code."""
    if norm.bias is None:
        return False
    vectors = (norm.bias, norm.weight, norm.shift)
    return are_floats(*vectors) and all(vector.shape == (size,) for vector in vectors)


def _addresses(norm: Norm) -> NormStruct:
    return NormStruct(address(norm.bias), address(norm.weight), address(norm.shift), norm.eps)


@cache
def _functions(suffix: str) -> "tuple[Callable[..., None], Callable[[int, int, int], int]]":
    name = f"millpond_encoder_layer{suffix}"
    compute = function(name, *[POINTER] * 4, INT, INT, POINTER, INT)
    return compute, function(f"{name}_memory", POINTER, INT, INT, returns=INT)
