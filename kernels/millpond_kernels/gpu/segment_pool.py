"""The op ``segment_pool`` in Triton: a program reads some columns of one sequence, once, and adds up in float32."""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from millpond_kernels.gpu.larger import larger

ROWS = 32
COLUMNS = 128


def segment_pool(x: Tensor, offsets: Sequence[int], how: str, weights: Tensor | None) -> Tensor:
    """Reduce rows as ``segment_pool_torch`` says; ``offsets`` are where sequences start and the last ends, checked."""
    num_seqs, hidden = len(offsets) - 1, x.shape[1]
    pooled = torch.empty(num_seqs, hidden, dtype=torch.float32, device=x.device)
    with torch.cuda.device_of(x):
        _segment_pool[num_seqs, triton.cdiv(hidden, COLUMNS)](
            x,
            torch.tensor(offsets, dtype=torch.int64, device=x.device),
            pooled if weights is None else weights.contiguous(),  # of no weights any address will do: none is read
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
    HOW: tl.constexpr,  # noqa: N803  as Triton's authors write constants
    WEIGHTED: tl.constexpr,  # noqa: N803
    ROWS: tl.constexpr,  # noqa: N803
    COLUMNS: tl.constexpr,  # noqa: N803
) -> None:
    sequence = tl.program_id(0)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    start = tl.load(offsets + sequence)
    stop = tl.load(offsets + sequence + 1)
    result = tl.full((COLUMNS,), float("-inf") if HOW == "max" else 0.0, tl.float32)
    total = 0.0
    for first in range(start, stop, ROWS):
        rows = first + tl.arange(0, ROWS)
        real = (rows < stop)[:, None] & (columns < hidden)[None, :]
        places = x + rows[:, None] * row_stride + columns[None, :] * column_stride
        if HOW == "max":
            block = tl.load(places, mask=real, other=float("-inf")).to(tl.float32)
            result = larger(result, tl.reduce(block, 0, larger))
        else:
            block = tl.load(places, mask=real, other=0.0).to(tl.float32)
            if WEIGHTED:
                weight = tl.load(weights + rows, mask=rows < stop, other=0.0).to(tl.float32)
                block = block * weight[:, None]
                total += tl.sum(weight, axis=0)
            result += tl.sum(block, axis=0)
    if HOW == "mean":
        result = result / (total if WEIGHTED else (stop - start).to(tl.float32))
    tl.store(pooled + sequence.to(tl.int64) * hidden + columns, result, mask=columns < hidden)
