"""The CNN module of sentence-transformers: convolutions of the vectors of tokens, before Pooling."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from millpond.loading.module_weights import ModuleWeights
from millpond.nn.shift import shifted
from millpond.types.errors import CheckpointError
from millpond_formats.sentence_transformers.module import Module, positive
from millpond_formats.sentence_transformers.sizes import CNN_CHANNELS, CNN_KERNELS

if TYPE_CHECKING:
    from millpond.context import Context
    from millpond.nn.batch import PackedBatch


class Convolutions(nn.Module):
    """Convolutions of several widths over the tokens of each sequence, joined, in float32.

    Each is one linear map of a token's neighbours; outside of a sequence there are zeros, as for a text that
    sentence-transformers encodes alone. (In a batch, it lets the padding of shorter texts in.)
    """

    def __init__(self, maps: Sequence[tuple[int, Callable[[Tensor], Tensor]]], in_features: int, channels: int) -> None:
        super().__init__()
        self.maps = tuple(maps)
        self.in_features, self.out_features = in_features, channels * len(self.maps)

    def forward(self, x: Tensor, batch: "PackedBatch") -> Tensor:
        """[num_tokens, in_features] -> [num_tokens, out_features]."""
        x = x.float()
        widest = max(width for width, _ in self.maps) // 2
        near = {shift: shifted(x, batch, shift) for shift in range(-widest, widest + 1)}
        found = []
        for width, map_ in self.maps:
            sides = range(-(width // 2), width // 2 + 1)
            found.append(map_(torch.cat([near[shift] for shift in sides], dim=-1)))
        return torch.cat(found, dim=-1)


def load_cnn(ctx: "Context", module: Module, *, allow_pickle: bool) -> Convolutions:
    """The module with its weights.

    Raises:
        CheckpointError: If they are missing or do not fit, or if there would not be one vector a token.
    """
    config, path = module.config, module.path / "cnn_config.json"
    size = positive(config.get("in_embedding_dimension", config.get("in_word_embedding_dimension")))
    channels, widths = config.get("out_channels", CNN_CHANNELS), config.get("kernel_sizes", CNN_KERNELS)
    strides = config.get("stride_sizes") or [1] * len(widths)
    if size is None or set(strides) != {1} or len(strides) != len(widths) or not all(width % 2 for width in widths):
        message = (
            f"{path}: supported are convolutions that keep one vector a token, of odd kernel_sizes and stride 1; "
            f"got kernel_sizes {widths} and stride_sizes {strides}"
        )
        raise CheckpointError(message)
    tensors, linear = ModuleWeights(module, ctx.device, allow_pickle=allow_pickle), ctx.op("linear")
    maps = []
    for number, width in enumerate(widths):
        weight = tensors.get(f"convs.{number}.weight", [channels, size, width])
        bias = tensors.get(f"convs.{number}.bias", [channels])
        maps.append((width, linear(weight.permute(0, 2, 1).reshape(channels, width * size).contiguous(), bias)))
    return Convolutions(maps, size, channels)
