"""The CNN module of sentence-transformers: convolutions of the vectors of tokens, before Pooling."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from millpond.nn.post_pooling import TokenModule
from millpond.nn.shift import shifted
from millpond.types.errors import CheckpointError
from millpond_formats.sentence_transformers.module import CNN, CONFIG_FILES, positive
from millpond_formats.sentence_transformers.sizes import CNN_CHANNELS, CNN_KERNELS

if TYPE_CHECKING:
    from millpond.context import Context
    from millpond.loading.weights import ModuleWeights
    from millpond.nn.batch import PackedBatch


class Convolutions(TokenModule):
    """Convolutions of several widths over the tokens of each sequence, joined, in float32.

    Each is one linear map of a token's neighbours; outside of a sequence there are zeros, as for a text that
    sentence-transformers encodes alone. (In a batch, it lets the padding of shorter texts in.)
    """

    def __init__(self, maps: Sequence[tuple[int, Callable[[Tensor], Tensor]]], in_features: int, channels: int) -> None:
        super().__init__()
        self.maps = tuple(maps)
        self.in_features, self.out_features = in_features, channels * len(self.maps)

    def forward(self, hidden_states: Tensor, batch: "PackedBatch") -> Tensor:
        """[num_tokens, in_features] -> [num_tokens, out_features]."""
        x = hidden_states.float()
        widest = max(width for width, _ in self.maps) // 2
        near = {shift: shifted(x, batch, shift) for shift in range(-widest, widest + 1)}
        found = []
        for width, map_ in self.maps:
            sides = range(-(width // 2), width // 2 + 1)
            found.append(map_(torch.cat([near[shift] for shift in sides], dim=-1)))
        return torch.cat(found, dim=-1)


def load_cnn(ctx: "Context", config: Mapping[str, Any], weights: "ModuleWeights") -> Convolutions:
    """The module with its weights.

    Raises:
        CheckpointError: If they are missing or do not fit, or if there would not be one vector a token.
    """
    size = positive(config.get("in_embedding_dimension", config.get("in_word_embedding_dimension")))
    channels, widths = config.get("out_channels", CNN_CHANNELS), config.get("kernel_sizes", CNN_KERNELS)
    strides = config.get("stride_sizes") or [1] * len(widths)
    if size is None or set(strides) != {1} or len(strides) != len(widths) or not all(width % 2 for width in widths):
        message = (
            f"{weights.folder / CONFIG_FILES[CNN]}: supported are convolutions that keep one vector a token, of odd "
            f"kernel_sizes and stride 1; got kernel_sizes {widths} and stride_sizes {strides}"
        )
        raise CheckpointError(message)
    linear, maps = ctx.op("linear"), []
    for number, width in enumerate(widths):
        weight = weights.get(f"convs.{number}.weight", [channels, size, width])
        bias = weights.get(f"convs.{number}.bias", [channels])
        maps.append((width, linear(weight.permute(0, 2, 1).reshape(channels, width * size).contiguous(), bias)))
    return Convolutions(maps, size, channels)
