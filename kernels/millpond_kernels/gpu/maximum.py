"""The maximum of two numbers in Triton, which keeps NaN."""

import triton
import triton.language as tl


@triton.jit
def maximum(a: tl.tensor, b: tl.tensor) -> tl.tensor:
    """Return the element-wise maximum; NaN if either is NaN."""
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)
