"""Names the kernels that Millpond comes with."""

from collections.abc import Iterator

from millpond.hookspecs import hookimpl
from millpond.specs import KernelSpec


@hookimpl
def register_kernels() -> Iterator[KernelSpec]:
    """Attention and linear maps."""
    yield KernelSpec(
        name="attention.sdpa",
        target="millpond_kernels.attention_sdpa:attention",
        summary="torch's scaled_dot_product_attention over groups of equal length",
        priority=10,
    )
    yield KernelSpec(
        name="attention.reference",
        target="millpond_kernels.attention_reference:attention",
        summary="plain float32 torch, one sequence at a time: the yardstick of the others",
    )
    yield KernelSpec(name="linear.torch", target="torch.nn.functional:linear", summary="torch's own linear map")
