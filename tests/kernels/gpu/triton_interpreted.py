"""The kernels in Triton, interpreted on the CPU: ``test_triton.py`` runs this file with TRITON_INTERPRET=1.

What a GPU would do in parallel, the interpreter does in numpy, block after block: blocks are small here, and many.
"""

import pytest

from millpond.testing.conformance import KernelConformance
from millpond_kernels.gpu import maxsim, segment_pool
from millpond_kernels.testing.layers import LayerNormResidualCases
from millpond_kernels.testing.pooling import MaxsimCases, SegmentPoolCases

pytestmark = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # numpy's, of infinities


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    for module, sizes in (
        (segment_pool, {"ROWS": 8, "COLUMNS": 16}),
        (maxsim, {"QUERY_ROWS": 16, "DOCUMENT_ROWS": 16, "DIMS": 16}),
    ):
        for name, size in sizes.items():
            monkeypatch.setattr(module, name, size)


class FewLayerNormResidual(LayerNormResidualCases):
    widths = (12, 16, 33)


class FewSegmentPool(SegmentPoolCases):
    widths = (7, 16, 33)


class FewMaxsim(MaxsimCases):
    widths = (7, 33)

    def settings(self):
        return [{"queries": (18, 1), "listed": listed} for listed in (False, True)]


class Interpreted(KernelConformance):
    device = "cpu"
    longest = 70
    seeds = 4
    threads = 1  # the interpreter is one for the whole process


class TestLayerNormResidual(Interpreted):
    name = "layer_norm_residual.triton"
    cases = FewLayerNormResidual()


class TestSegmentPool(Interpreted):
    name = "segment_pool.triton"
    cases = FewSegmentPool()


class TestMaxsim(Interpreted):
    name = "maxsim.triton"
    cases = FewMaxsim()
    dtypes = ("float32", "float16")  # of bfloat16, the interpreter multiplies the bits
