"""The dimensions of vectors after a module, by its config alone. Without torch."""

from millpond_formats.sentence_transformers.module import CNN, Module

CNN_KERNELS, CNN_CHANNELS = (1, 3, 5), 256  # of a CNN where its config does not specify them


def size_after(module: Module, size: int | None) -> int | None:
    """The dimensions of the vectors that a module makes.

    Args:
        module: The module.
        size: The dimensions of what it takes; None if they are not known.
    """
    if module.type == CNN:
        channels, widths = (
            module.config.get("out_channels", CNN_CHANNELS),
            module.config.get("kernel_sizes", CNN_KERNELS),
        )
        return channels * len(widths) if isinstance(channels, int) and isinstance(widths, list | tuple) else None
    found = module.config.get("out_features", size)
    return found if isinstance(found, int) else None
