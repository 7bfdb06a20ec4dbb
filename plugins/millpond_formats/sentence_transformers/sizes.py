"""The dimensions that modules give, by their config alone. Without torch."""

from collections.abc import Mapping
from typing import Any

from millpond_formats.sentence_transformers.module import positive

CNN_KERNELS, CNN_CHANNELS = (1, 3, 5), 256  # of a CNN where its config does not specify them
FEATURES = 512  # of a SparseAutoEncoder, likewise


def size_after_cnn(config: Mapping[str, Any], size: int | None) -> int | None:
    """The channels of all convolutions of a CNN."""
    del size
    channels, widths = config.get("out_channels", CNN_CHANNELS), config.get("kernel_sizes", CNN_KERNELS)
    return channels * len(widths) if isinstance(channels, int) and isinstance(widths, list | tuple) else None


def size_of_code(config: Mapping[str, Any], size: int | None = None) -> int:
    """The features of a SparseAutoEncoder."""
    del size
    return positive(config.get("hidden_dim", FEATURES)) or FEATURES
