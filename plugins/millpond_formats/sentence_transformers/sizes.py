"""Output sizes of modules, from their config. Does not import torch."""

from collections.abc import Mapping
from typing import Any

from millpond_formats.sentence_transformers.module import positive

CNN_KERNELS, CNN_CHANNELS = (1, 3, 5), 256  # the default kernel sizes and channels of a CNN
DEFAULT_FEATURES = 512  # of a SparseAutoEncoder


def size_after_cnn(config: Mapping[str, Any], size: int | None) -> int | None:
    """Return the number of channels of all convolutions of a CNN."""
    del size
    channels, widths = config.get("out_channels", CNN_CHANNELS), config.get("kernel_sizes", CNN_KERNELS)
    return channels * len(widths) if isinstance(channels, int) and isinstance(widths, list | tuple) else None


def size_after_sparse_autoencoder(config: Mapping[str, Any], size: int | None = None) -> int:
    """Return the number of features of a SparseAutoEncoder."""
    del size
    return positive(config.get("hidden_dim", DEFAULT_FEATURES)) or DEFAULT_FEATURES
