"""Kernels for NVIDIA GPUs, and checks of whether Triton and FlashAttention are available."""

from importlib.util import find_spec
from inspect import signature

MIN_CAPABILITY = (8, 0)  # the oldest compute capability that FlashAttention supports: Ampere
VARLEN_PARAMETERS = {"scale", "window_size"}


def triton_availability() -> bool | str:
    """Return True if Triton's kernels are available, else the reason."""
    if find_spec("triton") is None:
        return "needs the package triton"
    return _gpu() or True


def varlen_availability() -> bool | str:
    """Return True if torch's attention of packed sequences is available, else the reason."""
    import torch  # noqa: PLC0415  listing kernels does not need it

    if not _torch_has_varlen():
        return f"needs torch.nn.attention.varlen with windows, as in torch 2.12 (this one is {torch.__version__})"
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


def _torch_has_varlen() -> bool:
    if find_spec("torch.nn.attention.varlen") is None:
        return False
    from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415  only some versions of torch have it

    return set(signature(varlen_attn).parameters) >= VARLEN_PARAMETERS
