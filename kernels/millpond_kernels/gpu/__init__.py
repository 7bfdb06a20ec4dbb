"""Kernels for NVIDIA GPUs, and checks of whether Triton and FlashAttention are available."""

import os
import shutil
from importlib.util import find_spec

MIN_CAPABILITY = (8, 0)  # the oldest compute capability that FlashAttention supports: Ampere
C_COMPILERS = ("gcc", "clang")  # one of which Triton calls, unless CC names another


def triton_availability() -> bool | str:
    """Return True if Triton's kernels are available, else the reason."""
    if find_spec("triton") is None:
        return "needs the package triton"
    if "CC" not in os.environ and not any(map(shutil.which, C_COMPILERS)):
        return (
            "needs a C compiler (gcc, clang, or the one that CC names), which Triton calls at a kernel's first launch"
        )
    return _gpu() or True


def varlen_availability() -> bool | str:
    """Return True if torch's attention of packed sequences is available, else the reason."""
    import torch  # noqa: PLC0415  listing kernels does not need it

    reason = _gpu()
    if reason:
        return reason
    if not torch.backends.cuda.is_flash_attention_available():
        return f"needs a torch that is built with FlashAttention (this one is {torch.__version__})"
    if torch.cuda.get_device_capability() < MIN_CAPABILITY:
        return f"needs an NVIDIA GPU of compute capability 8.0 or newer (this one is: {torch.cuda.get_device_name()})"
    return True


def _gpu() -> str:
    """Return the reason that no NVIDIA GPU is available; empty if one is."""
    import torch  # noqa: PLC0415  listing kernels does not need it

    # Builds of torch for AMD GPUs also use the name cuda.
    return "" if torch.cuda.is_available() and torch.version.cuda is not None else "needs an NVIDIA GPU"
