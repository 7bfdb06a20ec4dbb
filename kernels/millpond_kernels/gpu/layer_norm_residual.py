"""The op ``layer_norm_residual`` in Triton: each program reads one row once and computes in float32."""

import torch
import triton
import triton.language as tl
from torch import Tensor

MATRIX_DIMS = 2
MAX_COLUMNS = 16384  # that one program can process


def fits(x: Tensor, bias: Tensor, residual: Tensor, weight: Tensor, shift: Tensor) -> bool:
    """Return True if the kernel supports the tensors.

    It needs two matrices of the same shape and dtype, with adjacent columns, of which there are at most
    ``MAX_COLUMNS``, and one value for each column in the other tensors.
    """
    if x.dim() != MATRIX_DIMS or residual.shape != x.shape or residual.dtype != x.dtype:
        return False
    columns = x.shape[1]
    has_columns = bias.shape == weight.shape == shift.shape == (columns,)
    return has_columns and x.stride(1) == residual.stride(1) == 1 and columns <= MAX_COLUMNS


def layer_norm_residual(x: Tensor, bias: Tensor, residual: Tensor, weight: Tensor, shift: Tensor, eps: float) -> Tensor:
    """[rows, columns] twice and [columns] three times -> [rows, columns], in place."""
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    with torch.cuda.device_of(x):
        _layer_norm_residual[rows,](
            x,
            bias.contiguous(),
            residual,
            weight.contiguous(),
            shift.contiguous(),
            x.stride(0),
            residual.stride(0),
            columns,
            eps,
            BLOCK=block,
            num_warps=min(max(block // 512, 1), 16),
        )
    return x


@triton.jit
def _layer_norm_residual(
    x: tl.tensor,
    bias: tl.tensor,
    residual: tl.tensor,
    weight: tl.tensor,
    shift: tl.tensor,
    x_stride: tl.tensor,
    residual_stride: tl.tensor,
    num_columns: tl.tensor,
    eps: tl.tensor,
    BLOCK: tl.constexpr,  # noqa: N803  the convention of Triton
) -> None:
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    valid = columns < num_columns
    addresses = x + row * x_stride + columns
    value = tl.load(addresses, mask=valid, other=0.0).to(tl.float32)
    value += tl.load(bias + columns, mask=valid, other=0.0).to(tl.float32)
    value += tl.load(residual + row * residual_stride + columns, mask=valid, other=0.0).to(tl.float32)
    mean = tl.sum(value, axis=0) / num_columns
    value = tl.where(valid, value - mean, 0.0)
    variance = tl.sum(value * value, axis=0) / num_columns
    value = value / tl.sqrt(variance + eps)
    value = value * tl.load(weight + columns, mask=valid, other=0.0).to(tl.float32)
    value += tl.load(shift + columns, mask=valid, other=0.0).to(tl.float32)
    tl.store(addresses, value.to(x.dtype.element_ty), mask=valid)
