"""A post-norm encoder layer in one call of compiled code: what kernels of ``linear`` offer as ``encoder_layer``."""

import ctypes
from functools import cache
from typing import TYPE_CHECKING, ClassVar

import torch

from millpond.nn.threads import op_threads
from millpond_kernels.attention.native import attention, attention_int8, longest_sequence
from millpond_kernels.feed_forward.gelu import gelu_native
from millpond_kernels.native import FLOAT, INT, POINTER, function
from millpond_kernels.native.tensors import address, are_floats, rows_of_floats
from millpond_kernels.norms.layer_norm_residual import layer_norm_residual_native

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from millpond.nn import PackedBatch
    from millpond.nn.encoder_layer import EncoderLayerParts, ResidualNormParts

ATTENTION = {"": (attention,), "_int8": (attention, attention_int8)}  # the kernels that go with the maps
VECTOR = 16  # floats; the compiled code takes heads of whole vectors


class Norm(ctypes.Structure):
    """``struct norm`` of encoder_layer.c."""

    _fields_: ClassVar = [("bias", POINTER), ("weight", POINTER), ("shift", POINTER), ("eps", FLOAT)]


class Layer(ctypes.Structure):
    """``struct layer`` of encoder_layer.c."""

    _fields_: ClassVar = [
        *((name, POINTER) for name in ("qkv", "output", "up", "down")),
        *((name, Norm) for name in ("attention_norm", "feed_forward_norm")),
        *((name, INT) for name in ("heads", "head_dim")),
        ("scale", FLOAT),
        ("int8_attention", INT),
    ]


class EncoderLayerNative:
    """A layer whose ops are one call, a group of sequences at a time: see encoder_layer.c."""

    def __init__(self, parts: "EncoderLayerParts", suffix: str) -> None:
        """Keep where the parts lie, which must not move; they are those that ``encoder_layer`` has found to fit."""
        self.parts = parts  # the weights must live as long as their addresses are known
        self.size: int = parts.up.inputs
        self.layer = Layer(
            *(linear.address for linear in (parts.qkv, parts.output, parts.up, parts.down)),
            *(_norm(norm) for norm in (parts.attention_norm, parts.feed_forward_norm)),
            parts.num_heads,
            parts.head_dim,
            parts.spec.scale,
            parts.attention is attention_int8,
        )
        self.address = ctypes.addressof(self.layer)
        self.compute, self.memory_size = _functions(suffix)
        self.longest = longest_sequence()

    def takes(self, batch: "PackedBatch") -> bool:
        """Whether no sequence is one that attention would leave to torch."""
        return batch.max_length <= self.longest and not batch.hidden

    def __call__(self, x: "Tensor", batch: "PackedBatch") -> "Tensor":
        """[num_tokens, size] -> [num_tokens, size]."""
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


def encoder_layer(kind: type, parts: "EncoderLayerParts", suffix: str) -> EncoderLayerNative | None:
    """The layer in one go; None if one of its parts is not compiled code that the others can be joined with.

    Args:
        kind: The kernel of ``linear`` that all four maps must be of.
        parts: The layer.
        suffix: Of the names of that kernel's compiled functions: "_int8" of the one in 8-bit integers.
    """
    of_kind = all(type(part) is kind for part in (parts.qkv, parts.output, parts.up, parts.down))
    between = (parts.gelu, parts.norm) == (gelu_native, layer_norm_residual_native)
    if not of_kind or not between or parts.attention not in ATTENTION[suffix]:
        return None
    return EncoderLayerNative(parts, suffix) if _fits(parts) else None


def _fits(parts: "EncoderLayerParts") -> bool:
    """Whether the parts are of the shapes that belong together, and all is there that the compiled code reads."""
    qkv, output, up, down, spec = parts.qkv, parts.output, parts.up, parts.down, parts.spec
    size, width = up.inputs, parts.num_heads * parts.head_dim
    shapes = (qkv.inputs, qkv.outputs, output.inputs, output.outputs, down.inputs, down.outputs)
    plain = not spec.causal and spec.window is None and spec.softcap is None and spec.bias is None
    return (
        shapes == (size, 3 * width, width, size, up.outputs, size)
        and plain
        and parts.head_dim % VECTOR == 0
        and up.bias is not None
        and all(_is_whole(norm, size) for norm in (parts.attention_norm, parts.feed_forward_norm))
    )


def _is_whole(norm: "ResidualNormParts", size: int) -> bool:
    """Whether a norm has all its vectors, as the compiled code takes them."""
    vectors = [vector for vector in (norm.bias, norm.weight, norm.shift) if vector is not None]
    return len(vectors) == len(("bias", "weight", "shift")) and (
        are_floats(*vectors) and all(vector.shape == (size,) for vector in vectors)
    )


def _norm(norm: "ResidualNormParts") -> Norm:
    return Norm(address(norm.bias), address(norm.weight), address(norm.shift), norm.eps)


@cache
def _functions(suffix: str) -> "tuple[Callable[..., None], Callable[[int, int, int], int]]":
    name = f"millpond_encoder_layer{suffix}"
    compute = function(name, *[POINTER] * 4, INT, INT, POINTER, INT)
    return compute, function(f"{name}_memory", POINTER, INT, INT, returns=INT)
