"""The CNN module of sentence-transformers: convolutions of token vectors, before Pooling."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from millpond.nn import TokenModule
from millpond.types.errors import CheckpointError
from millpond_formats.sentence_transformers.module import CNN, CONFIG_FILES, positive
from millpond_formats.sentence_transformers.sizes import CNN_CHANNELS, CNN_KERNELS
from millpond_modeling.shift import shifted

if TYPE_CHECKING:
    from millpond.context import Context
    from millpond.loading.weights import ModuleWeights
    from millpond.nn import PackedBatch


class Convolutions(TokenModule):
    """Concatenated convolutions of several kernel sizes over the tokens of each sequence, in float32.

    Each convolution is computed as a linear layer of a token and its neighbours. Sequences are padded with zeros, as in
    sentence-transformers for a single text. (In a batch, sentence-transformers also reads the padding of short texts.)
    """

    def __init__(self, maps: Sequence[tuple[int, Callable[[Tensor], Tensor]]], in_features: int, channels: int) -> None:
        super().__init__()
        self.maps = tuple(maps)
        self.in_features, self.out_features = in_features, channels * len(self.maps)

    def forward(self, hidden_states: Tensor, batch: "PackedBatch") -> Tensor:
        """[num_tokens, in_features] -> [num_tokens, out_features]."""
        x = hidden_states.float()
        max_shift = max(width for width, _ in self.maps) // 2
        neighbours = {shift: shifted(x, batch, shift) for shift in range(-max_shift, max_shift + 1)}
        outputs = []
        for width, linear in self.maps:
            window = range(-(width // 2), width // 2 + 1)
            outputs.append(linear(torch.cat([neighbours[shift] for shift in window], dim=-1)))
        return torch.cat(outputs, dim=-1)


def load_cnn(ctx: "Context", config: Mapping[str, Any], weights: "ModuleWeights") -> Convolutions:
    """Load the module.

    Raises:
        CheckpointError: If the weights are missing or do not match its config, or if the strides or kernel sizes would
            change the number of vectors.
    """
    size = positive(config.get("in_embedding_dimension", config.get("in_word_embedding_dimension")))
    channels, widths = config.get("out_channels", CNN_CHANNELS), config.get("kernel_sizes", CNN_KERNELS)
    strides = config.get("stride_sizes") or [1] * len(widths)
    if size is None or set(strides) != {1} or len(strides) != len(widths) or not all(width % 2 for width in widths):
        message = (
            f"{weights.folder / CONFIG_FILES[CNN]}: only odd kernel_sizes and stride 1 are supported, which keep one "
            f"vector per token; got kernel_sizes {widths} and stride_sizes {strides}"
        )
        raise CheckpointError(message)
    linear, maps = ctx.op("linear"), []
    for number, width in enumerate(widths):
        weight = weights.get(f"convs.{number}.weight", [channels, size, width])
        bias = weights.get(f"convs.{number}.bias", [channels])
        maps.append((width, linear(weight.permute(0, 2, 1).reshape(channels, width * size).contiguous(), bias)))
    return Convolutions(maps, size, channels)
