"""The larger of two numbers in Triton, where NaN is the largest: what is spoilt must show."""

import triton
import triton.language as tl


@triton.jit
def larger(a: tl.tensor, b: tl.tensor) -> tl.tensor:
    """Element by element."""
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)
