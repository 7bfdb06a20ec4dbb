"""The precision of a model: its dtype, and the format of the weights of linear layers."""

import logging
from dataclasses import replace

import torch

from millpond.plugin.kernels import OpContext, choose_kernel
from millpond.plugin.registry import Registry
from millpond.types.compute import BFLOAT16_WEIGHTS, ComputeOptions
from millpond.types.errors import UnknownNameError

logger = logging.getLogger(__name__)
BF16_CAPABILITY = (8, 0)  # the oldest compute capability of NVIDIA GPUs with bfloat16: Ampere


def runnable_dtype(dtype: str, device: torch.device) -> str:
    """Return the checkpoint's dtype if the device supports it natively, else float32, never a narrower dtype."""
    if dtype == "float32" or _computes_natively(dtype, device):
        return dtype
    name = "CPU" if device.type == "cpu" else "GPU"
    logger.info("this %s has no native support for %s: running in float32", name, dtype)
    return "float32"


def in_mixed_precision(
    registry: Registry, dtype: torch.dtype, device: torch.device, compute: ComputeOptions
) -> tuple[torch.dtype, ComputeOptions]:
    """Return the dtype and the compute options that a model is built with.

    Models in bfloat16 compute in float32 on a CPU, with the weights of linear layers in bfloat16 or quantized, if a
    kernel supports it: this is faster than torch's kernels for bfloat16, and results are closer to those in float32.
    """
    if dtype != torch.bfloat16 or device.type != "cpu":
        return dtype, compute
    quantization = compute.quantization or BFLOAT16_WEIGHTS
    context = OpContext(
        device=device,
        dtype=torch.float32,
        quantization=quantization,
        batch_invariant=compute.batch_invariant,
        kernels=compute.kernels,
    )
    try:
        kernel = choose_kernel(registry, "linear", context)
    except UnknownNameError:  # the kernel that the user chose only supports other dtypes
        return dtype, compute
    if kernel.entry.spec.quantization != quantization:
        return dtype, compute
    return torch.float32, replace(compute, quantization=quantization)


def disable_tf32(dtype: torch.dtype, device: torch.device) -> None:
    """Compute the convolutions of models in float32 on CUDA devices in float32, for the whole process.

    By default, cuDNN rounds their inputs to TF32, with 10 bits of fraction, while products of matrices are exact. A
    process that permits TF32 for products with ``torch.set_float32_matmul_precision`` keeps it for convolutions.
    """
    if device.type == "cuda" and dtype == torch.float32 and torch.get_float32_matmul_precision() == "highest":
        torch.backends.cudnn.allow_tf32 = False


def _computes_natively(dtype: str, device: torch.device) -> bool:
    """Return True if a device has instructions for a dtype of 16 bits; torch emulates others, slowly."""
    if device.type == "cpu":
        return dtype == "bfloat16" and _has_native_bf16()
    if device.type != "cuda" or dtype != "bfloat16" or torch.version.hip is not None:
        return True
    return torch.cuda.get_device_capability(device) >= BF16_CAPABILITY


def _has_native_bf16() -> bool:
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, check, bool)()) for check in checks)
