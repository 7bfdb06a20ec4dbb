"""The kernels in Triton, interpreted on the CPU: ``test_triton.py`` runs this file with TRITON_INTERPRET=1.

What a GPU would do in parallel, the interpreter does in numpy, block after block: blocks are small here, and many.
"""

import pytest
import torch

from millpond.testing.conformance import KernelConformance
from millpond_kernels.gpu import maxsim, segment_pool
from millpond_kernels.norms.layer_norm_residual import layer_norm_residual_torch, layer_norm_residual_triton
from millpond_kernels.pooling.maxsim import maxsim_torch, maxsim_triton
from millpond_kernels.pooling.segment_pool import segment_pool_torch, segment_pool_triton
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


def test_maxsim_supports_queries_and_documents_of_different_dtypes():
    queries, documents = torch.randn(5, 33), torch.randn(9, 33).half()
    expected = maxsim_torch(queries, documents, [2, 3], [4, 5])
    torch.testing.assert_close(maxsim_triton(queries, documents, [2, 3], [4, 5]), expected)


@pytest.mark.parametrize("broadcast", ["bias", "residual", "dtype"])
def test_layer_norm_passes_other_shapes_and_dtypes_to_torch(broadcast):
    x, residual, bias, weight, shift = torch.randn(3, 8), torch.randn(3, 8), *torch.randn(3, 8)
    bias = bias[:1] if broadcast == "bias" else bias
    residual = residual[:1] if broadcast == "residual" else residual.double() if broadcast == "dtype" else residual
    weight, shift = (weight.double(), shift.double()) if broadcast == "dtype" else (weight, shift)
    expected = layer_norm_residual_torch(x.clone(), bias, residual, weight, shift, 1e-5)
    torch.testing.assert_close(layer_norm_residual_triton(x, bias, residual, weight, shift, 1e-5), expected)


def test_segment_pool_refuses_too_few_weights():
    with pytest.raises(ValueError, match="got 2 weights for 5 rows"):
        segment_pool_triton(torch.randn(5, 3), [2, 3], "mean", torch.ones(2))


def test_transposed_tensors_are_read_by_their_strides():
    x = torch.randn(33, 12).T
    torch.testing.assert_close(segment_pool_triton(x, [5, 7], "mean"), segment_pool_torch(x, [5, 7], "mean"))
    expected = maxsim_torch(x, x, [5, 7], [5, 7])
    torch.testing.assert_close(maxsim_triton(x, x, [5, 7], [5, 7]), expected)
