"""The op ``segment_pool`` in Triton: each program reads some columns of one sequence once and sums in float32."""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from millpond.nn import to_device
from millpond_kernels.gpu.maximum import maximum

ROWS = 32
COLUMNS = 128


def segment_pool(x: Tensor, offsets: Sequence[int], how: str, weights: Tensor | None) -> Tensor:
    """Return the result of ``segment_pool_torch``; ``offsets`` are those of ``offsets_of``."""
    num_seqs, hidden = len(offsets) - 1, x.shape[1]
    pooled = torch.empty(num_seqs, hidden, dtype=torch.float32, device=x.device)
    with torch.cuda.device_of(x):
        _segment_pool[num_seqs, triton.cdiv(hidden, COLUMNS)](
            x,
            to_device(torch.tensor(offsets), x.device),
            pooled if weights is None else weights.contiguous(),  # any valid address: it is not read without weights
            pooled,
            hidden,
            *x.stride(),
            HOW=how,
            WEIGHTED=weights is not None,
            ROWS=ROWS,
            COLUMNS=COLUMNS,
        )
    return pooled


@triton.jit
def _segment_pool(
    x: tl.tensor,
    offsets: tl.tensor,
    weights: tl.tensor,
    pooled: tl.tensor,
    hidden: tl.tensor,
    row_stride: tl.tensor,
    column_stride: tl.tensor,
    HOW: tl.constexpr,  # noqa: N803  the convention of Triton
    WEIGHTED: tl.constexpr,  # noqa: N803
    ROWS: tl.constexpr,  # noqa: N803
    COLUMNS: tl.constexpr,  # noqa: N803
) -> None:
    sequence = tl.program_id(0)
    # 64 bits: the stride of a transposed tensor is large.
    columns = (tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)).to(tl.int64)
    start = tl.load(offsets + sequence)
    stop = tl.load(offsets + sequence + 1)
    result = tl.full((COLUMNS,), float("-inf") if HOW == "max" else 0.0, tl.float32)
    total = 0.0
    for first in range(start, stop, ROWS):
        rows = first + tl.arange(0, ROWS)
        valid = (rows < stop)[:, None] & (columns < hidden)[None, :]
        addresses = x + rows[:, None] * row_stride + columns[None, :] * column_stride
        if HOW == "max":
            block = tl.load(addresses, mask=valid, other=float("-inf")).to(tl.float32)
            result = maximum(result, tl.reduce(block, 0, maximum))
        else:
            block = tl.load(addresses, mask=valid, other=0.0).to(tl.float32)
            if WEIGHTED:
                weight = tl.load(weights + rows, mask=rows < stop, other=0.0).to(tl.float32)
                block = block * weight[:, None]
                total += tl.sum(weight, axis=0)
            result += tl.sum(block, axis=0)
    if HOW == "mean":
        result = result / (total if WEIGHTED else (stop - start).to(tl.float32))
    tl.store(pooled + sequence.to(tl.int64) * hidden + columns, result, mask=columns < hidden)
