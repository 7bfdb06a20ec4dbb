"""Whether kernels for NVIDIA GPUs can run here: by Triton, and by FlashAttention for sequences end to end."""

from importlib.util import find_spec
from inspect import signature

AMPERE = (8, 0)  # the oldest compute capability that FlashAttention is built for
VARLEN_NEEDS = {"scale", "window_size", "enable_gqa", "num_splits"}


def triton_availability() -> bool | str:
    """True if Triton's kernels can run here, else what they need."""
    if find_spec("triton") is None:
        return "needs the package triton"
    return _gpu() or True


def varlen_availability() -> bool | str:
    """True if torch's attention over sequences of different lengths can run here, else what it needs."""
    import torch  # noqa: PLC0415  listing kernels needs none

    if not _torch_has_varlen():
        return f"needs torch 2.13 or newer, with torch.nn.attention.varlen (this one is {torch.__version__})"
    missing = _gpu()
    if missing:
        return missing
    if not torch.backends.cuda.is_flash_attention_available():
        return f"needs a torch that is built with FlashAttention (this one is {torch.__version__})"
    if torch.cuda.get_device_capability() < AMPERE:
        return f"needs an NVIDIA GPU of compute capability 8.0 or newer (this one is: {torch.cuda.get_device_name()})"
    return True


def _gpu() -> str:
    """What is missing; empty if there is an NVIDIA GPU."""
    import torch  # noqa: PLC0415  listing kernels needs none

    # A torch for AMD's GPUs calls them cuda too.
    return "" if torch.cuda.is_available() and torch.version.cuda is not None else "needs an NVIDIA GPU"


def _torch_has_varlen() -> bool:
    if find_spec("torch.nn.attention.varlen") is None:
        return False
    from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415  only some versions of torch have it

    return set(signature(varlen_attn).parameters) >= VARLEN_NEEDS
