"""Conformance tests of the built-in kernels: each is compared with the reference of its op."""

from types import MappingProxyType

from millpond.testing.conformance import KernelConformance
from millpond_kernels.attention import sdpa as attention_sdpa
from millpond_kernels.testing.attention import AttentionCases

IN_BYTES = MappingProxyType({"float32": 0.03})
TWICE_IN_BYTES = MappingProxyType({"float32": 0.06})
IN_BF16 = MappingProxyType({"float32": 0.01})
TWICE_IN_BF16 = MappingProxyType({"float32": 0.02})


class TestAttentionReference(KernelConformance):
    name = "attention.reference"


class TestAttentionSdpa(KernelConformance):
    name = "attention.sdpa"


class PaddedAttention(AttentionCases):
    def settings(self):
        return [setting for setting in super().settings() if not {"softcap", "bias"} & set(setting)]


class TestAttentionSdpaPadded(KernelConformance):
    """The way that is else taken on accelerators alone."""

    name = "attention.sdpa"
    cases = PaddedAttention()

    def load(self, entry):
        return attention_sdpa._attend_padded  # noqa: SLF001


class TestAttentionNative(KernelConformance):
    name = "attention.native"


class AttentionInBytes(AttentionCases):
    sizes = (1e-6, 30.0)  # eight bits cannot distinguish the largest of huge scores from the next


class TestAttentionInt8Native(KernelConformance):
    name = "attention.int8_native"
    cases = AttentionInBytes()
    tolerances = IN_BYTES


class TestAttentionBf16Native(KernelConformance):
    name = "attention.bf16_native"
    cases = AttentionInBytes()
    tolerances = IN_BF16


class TestAttentionVarlen(KernelConformance):
    name = "attention.varlen"


class TestGeluTorch(KernelConformance):
    name = "gelu.torch"


class TestGeluErf(KernelConformance):
    name = "gelu.erf"


class TestGeluNative(KernelConformance):
    name = "gelu.native"


class TestGatedTorch(KernelConformance):
    name = "gated.torch"


class TestGatedExp(KernelConformance):
    name = "gated.exp"


class TestGatedNative(KernelConformance):
    name = "gated.native"


class TestRotaryTorch(KernelConformance):
    name = "rotary.torch"


class TestRotaryNative(KernelConformance):
    name = "rotary.native"


class TestRmsNormTorch(KernelConformance):
    name = "rms_norm.torch"


class TestRmsNormNative(KernelConformance):
    name = "rms_norm.native"


class TestLayerNormResidualTorch(KernelConformance):
    name = "layer_norm_residual.torch"


class TestLayerNormResidualNative(KernelConformance):
    name = "layer_norm_residual.native"


class TestLayerNormResidualTriton(KernelConformance):
    name = "layer_norm_residual.triton"


class TestSegmentPoolTorch(KernelConformance):
    name = "segment_pool.torch"


class TestSegmentPoolNative(KernelConformance):
    name = "segment_pool.native"


class TestSegmentPoolTriton(KernelConformance):
    name = "segment_pool.triton"


class TestNormalizeTorch(KernelConformance):
    name = "normalize.torch"


class TestSpladeTorch(KernelConformance):
    name = "splade.torch"


class TestSpladeBlocks(KernelConformance):
    name = "splade.blocks"


class TestMaxsimTorch(KernelConformance):
    name = "maxsim.torch"


class TestMaxsimBatched(KernelConformance):
    name = "maxsim.batched"


class TestMaxsimTriton(KernelConformance):
    name = "maxsim.triton"


class TestLinearTorch(KernelConformance):
    name = "linear.torch"


class TestLinearTiles(KernelConformance):
    name = "linear.tiles"


class TestLinearNative(KernelConformance):
    name = "linear.native"


class TestLinearBf16Native(KernelConformance):
    name = "linear.bf16_native"
    tolerances = IN_BF16


class TestLinearInt8Torch(KernelConformance):
    name = "linear.int8_torch"
    dtypes = ("float32",)
    tolerances = IN_BYTES


class TestLinearInt8Native(KernelConformance):
    name = "linear.int8_native"
    tolerances = IN_BYTES


class TestLinearInt8Dequantized(KernelConformance):
    name = "linear.int8_dequantized"
    tolerances = MappingProxyType({"float32": 0.03, "bfloat16": 0.05})


class TestLinearInt8DequantizedTiles(TestLinearInt8Dequantized):
    name = "linear.int8_dequantized_tiles"


class TestFeedForwardReference(KernelConformance):
    name = "feed_forward.reference"
    dtypes = ("float32",)


class TestFeedForwardInt8Native(KernelConformance):
    name = "feed_forward.int8_native"
    tolerances = TWICE_IN_BYTES


class TestFeedForwardBf16Native(KernelConformance):
    name = "feed_forward.bf16_native"
    tolerances = TWICE_IN_BF16


class TestGatedFeedForwardReference(KernelConformance):
    name = "gated_feed_forward.reference"
    dtypes = ("float32",)


class TestGatedFeedForwardNative(KernelConformance):
    name = "gated_feed_forward.native"


class TestGatedFeedForwardInt8Native(KernelConformance):
    name = "gated_feed_forward.int8_native"
    tolerances = TWICE_IN_BYTES


class TestGatedFeedForwardBf16Native(KernelConformance):
    name = "gated_feed_forward.bf16_native"
    tolerances = TWICE_IN_BF16


class TestEncoderLayerReference(KernelConformance):
    name = "encoder_layer.reference"
    dtypes = ("float32",)


class TestEncoderLayerNative(KernelConformance):
    name = "encoder_layer.native"


class TestEncoderLayerBf16MapsNative(KernelConformance):
    name = "encoder_layer.bf16_maps_native"
    tolerances = TWICE_IN_BF16


class TestEncoderLayerBf16Native(KernelConformance):
    name = "encoder_layer.bf16_native"
    tolerances = TWICE_IN_BF16


class TestEncoderLayerInt8MapsNative(KernelConformance):
    name = "encoder_layer.int8_maps_native"
    tolerances = TWICE_IN_BYTES


class TestEncoderLayerInt8Native(KernelConformance):
    name = "encoder_layer.int8_native"
    tolerances = TWICE_IN_BYTES


def test_every_kernel_has_its_class(registry):
    classes = [value for value in globals().values() if isinstance(value, type)]
    tested = {kind.name for kind in classes if issubclass(kind, KernelConformance) and kind is not KernelConformance}
    assert tested == set(registry.kernels.names())
