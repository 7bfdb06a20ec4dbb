"""Registers the components of this package."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import KernelSpec

MILLPOND_API = 1


@hookimpl
def register_kernels() -> Iterator[KernelSpec]:
    """Register a kernel of the op rms_norm."""
    yield KernelSpec(
        name="rms_norm.addon_name",
        target="addon_package.norms:rms_norm",
        summary="rows divided by their root mean square, in plain torch",
        devices=("cpu", "cuda"),
        dtypes=("float32", "bfloat16"),
        priority=-10,  # lower than the built-in kernels: used only if a user selects it
        available="addon_package.norms:is_available",
    )
