"""The op ``encoder_layer`` in one call of compiled code, a group of sequences at a time: see encoder_layer.c."""

import ctypes
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from millpond.nn.threads import op_threads
from millpond_kernels.attention.native import longest_sequence
from millpond_kernels.encoder_layer.reference import EncoderLayerReference, Norm
from millpond_kernels.linear.compiled import built_maps
from millpond_kernels.linear.int8 import LinearInt8Native
from millpond_kernels.linear.native import LinearNative
from millpond_kernels.native import FLOAT, INT, POINTER, function
from millpond_kernels.native.tensors import address, are_floats, rows_of_floats

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from millpond.nn import PackedBatch
    from millpond_kernels.linear.compiled import CompiledLinear

VECTOR = 16  # floats; the compiled code takes heads of whole vectors


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
        ("int8_attention", INT),
    ]


class EncoderLayerNative(EncoderLayerReference):
    """A layer in one call. What the compiled code cannot do, its parts do one by one: see ``EncoderLayerReference``.

    Attributes:
        kind: The kernel of ``linear`` that has laid out the weights.
        int8_attention: True if attention is computed in 8-bit integers.
        layer: The parts by their addresses, which must not move; None if they do not fit the compiled code.
    """

    kind: "ClassVar[type[CompiledLinear]]" = LinearNative
    int8_attention: ClassVar[bool] = False
    layer: LayerStruct | None = None

    def __init__(self, **parts: Any) -> None:
        """Take the parts of ``EncoderLayerReference``."""
        super().__init__(**parts)
        half = self.feed_forward
        maps = built_maps(self.kind, self.qkv, self.output, getattr(half, "up", None), getattr(half, "down", None))
        if maps is None or not self._fits(maps):
            return
        self.maps = maps  # the weights must live as long as their addresses are known
        self.size: int = maps[0].inputs
        self.layer = LayerStruct(
            *(linear.address for linear in maps),
            *(_addresses(norm) for norm in (self.attention_norm, self.feed_forward_norm)),
            self.num_heads,
            maps[1].inputs // self.num_heads,
            self.attention.spec.scale,
            self.int8_attention,
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
            message = f"x has {x.size(0)} rows, and the batch {batch.num_tokens} tokens"
            raise ValueError(message)
        longest, threads = batch.max_length, op_threads()
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

    def _fits(self, maps: "Sequence[CompiledLinear]") -> bool:
        """True if the parts are of the shapes that belong together, and nothing is missing that the code reads."""
        qkv, output, up, down = maps
        spec, size, width = self.attention.spec, qkv.inputs, output.inputs
        shapes = (qkv.outputs, output.outputs, up.inputs, down.inputs, down.outputs)
        plain = not spec.causal and spec.window is None and spec.softcap is None and spec.bias is None
        return (
            shapes == (3 * width, size, size, up.outputs, size)
            and plain
            and width % (VECTOR * self.num_heads) == 0
            and up.bias is not None
            and all(_is_whole(norm, size) for norm in (self.attention_norm, self.feed_forward_norm))
        )


class EncoderLayerInt8Native(EncoderLayerNative):
    """The same with weights in 8-bit integers."""

    kind = LinearInt8Native


class EncoderLayerAllInt8Native(EncoderLayerInt8Native):
    """The same with weights and attention in 8-bit integers."""

    int8_attention = True


def _is_whole(norm: Norm, size: int) -> bool:
    """True if a norm has all its vectors, as the compiled code takes them."""
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
