"""Names the kernels that Millpond comes with."""

from collections.abc import Iterator

from millpond.hookspecs import hookimpl
from millpond.specs import KernelSpec

NATIVE_DEVICES = ("cpu",)
NATIVE_DTYPES = ("float32",)
NATIVE_AVAILABLE = "millpond_kernels.native:availability"


@hookimpl
def register_kernels() -> Iterator[KernelSpec]:
    """Attention, linear maps, and what stands between them."""
    yield KernelSpec(
        name="attention.native",
        target="millpond_kernels.attention_native:attention",
        summary="compiled, for short sequences; longer ones go to attention.sdpa",
        priority=20,
        devices=NATIVE_DEVICES,
        dtypes=NATIVE_DTYPES,
        available=NATIVE_AVAILABLE,
    )
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
    for op, summary in (
        ("gelu", "the exact GELU of x + bias"),
        ("layer_norm_residual", "LayerNorm of x + bias + residual"),
    ):
        yield KernelSpec(
            name=f"{op}.torch", target=f"millpond_kernels.{op}:{op}_torch", summary=f"{summary}, in plain torch"
        )
        yield KernelSpec(
            name=f"{op}.native",
            target=f"millpond_kernels.{op}:{op}_native",
            summary=f"{summary}, compiled, in one pass",
            priority=20,
            devices=NATIVE_DEVICES,
            dtypes=NATIVE_DTYPES,
            available=NATIVE_AVAILABLE,
        )
