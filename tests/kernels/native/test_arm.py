"""The compiled kernels for ARM, run in an emulator, compared with the reference of their ops."""

from types import MappingProxyType

import pytest
import torch
from emulated_kernels import PROCESSORS

from millpond.testing.conformance import KernelConformance
from millpond_kernels import native
from millpond_kernels.linear.int8 import LinearInt8Native
from millpond_kernels.linear.native import LinearNative

pytestmark = pytest.mark.slow

IN_BYTES = MappingProxyType({"float32": 0.03})
TWICE_IN_BYTES = MappingProxyType({"float32": 0.06})
IN_BF16 = MappingProxyType({"float32": 0.01})
TWICE_IN_BF16 = MappingProxyType({"float32": 0.02})


class OnArm(KernelConformance):
    """Fewer and shorter sequences than on a real processor."""

    longest = 40
    seeds = 2

    @pytest.fixture(params=["neon"], autouse=True)
    def level(self, request, on_arm):
        with on_arm(request.param):
            yield


class InBytes(OnArm):
    """Kernels of linear layers in 8-bit integers; test_int8_levels.py tests the other instructions."""

    tolerances = TWICE_IN_BYTES

    @pytest.fixture(params=["i8mm"], autouse=True)
    def level(self, request, on_arm):
        with on_arm(request.param):
            yield


class TestAttention(OnArm):
    name = "attention.native"


class TestGelu(OnArm):
    name = "gelu.native"


class TestGated(OnArm):
    name = "gated.native"


class TestRotary(OnArm):
    name = "rotary.native"


class TestRmsNorm(OnArm):
    name = "rms_norm.native"


class TestLayerNormResidual(OnArm):
    name = "layer_norm_residual.native"


class TestSegmentPool(OnArm):
    name = "segment_pool.native"


class TestLinear(OnArm):
    name = "linear.native"


class TestGatedFeedForward(OnArm):
    name = "gated_feed_forward.native"


class TestEncoderLayer(OnArm):
    name = "encoder_layer.native"


class TestLinearBf16(OnArm):
    name = "linear.bf16_native"
    tolerances = IN_BF16


class TestGatedFeedForwardBf16(OnArm):
    name = "gated_feed_forward.bf16_native"
    tolerances = TWICE_IN_BF16


class TestEncoderLayerBf16(OnArm):
    name = "encoder_layer.bf16_maps_native"
    tolerances = TWICE_IN_BF16


class TestLinearInt8(InBytes):
    name = "linear.int8_native"
    tolerances = IN_BYTES


class TestGatedFeedForwardInt8(InBytes):
    name = "gated_feed_forward.int8_native"


class TestEncoderLayerInt8(InBytes):
    name = "encoder_layer.int8_maps_native"


def test_each_level_selects_its_instructions(on_arm):
    selected = {}
    for level in PROCESSORS:
        with on_arm(level):
            selected[level] = native.capability(), native.int8_dot_products(), native.limits_int8_weights()
    assert selected == {"neon": ("NEON", 0, False), "dotprod": ("NEON", 1, False), "i8mm": ("NEON", 2, False)}


@pytest.fixture
def any_threads():
    """The test sets the number of threads of ops, which is restored."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("kernel", [LinearNative, LinearInt8Native])
def test_bits_do_not_depend_on_the_number_of_threads(on_arm, any_threads, kernel):
    generator = torch.Generator().manual_seed(1)
    weight, x = torch.randn(700, 300, generator=generator), torch.randn(97, 300, generator=generator)
    with on_arm("i8mm"):
        linear = kernel(weight, None)
        torch.set_num_threads(1)
        alone = linear(x)
        torch.set_num_threads(3)
        assert all(torch.equal(linear(x), alone) for _ in range(3))
