"""Every kernel that Millpond comes with, held against the reference of its op."""

from types import MappingProxyType

import torch
from torch.nn import functional

from millpond.testing.conformance import KernelConformance
from millpond.testing.kernel_cases import AttentionCases, LinearCases
from millpond_kernels.attention import sdpa as attention_sdpa
from millpond_kernels.feed_forward.gated import gated_native, gated_torch
from millpond_kernels.feed_forward.gelu import gelu_native

IN_BYTES = MappingProxyType({"float32": 0.03})
TWICE_IN_BYTES = MappingProxyType({"float32": 0.06})


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
    sizes = (1e-6, 30.0)  # of huge scores, eight bits do not tell the largest from the next


class TestAttentionInt8Native(KernelConformance):
    name = "attention.int8_native"
    cases = AttentionInBytes()
    tolerances = IN_BYTES


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


class TwoMapsWithGeluBetween(LinearCases):
    """In one go where the kernel can, else by its maps one by one."""

    def tensors(self, num_tokens, width, setting, generator):
        found = super().tensors(num_tokens, width, setting, generator)
        return found | {"second": torch.randn(width, setting["out"], generator=generator) / setting["out"] ** 0.5}

    def call(self, kernel, tensors, lengths, setting):
        del lengths, setting
        up, down = kernel(tensors["weight"], tensors.get("bias")), kernel(tensors["second"], None)
        if hasattr(down, "after_gelu"):
            return down.after_gelu(up, gelu_native)(tensors["x"])
        return down(functional.gelu(up(tensors["x"])))


class TestLinearInt8NativeInOneGo(KernelConformance):
    name = "linear.int8_native"
    cases = TwoMapsWithGeluBetween()
    tolerances = TWICE_IN_BYTES


class TwoMapsWithGateBetween(LinearCases):
    """As above; a width is that of what lies between."""

    widths = (64, 128)  # whole panels, without which the maps in float32 are called one by one

    def settings(self):
        return [
            {"out": out, "bias": bias, "activation": activation}
            for out, bias in ((48, True), (1, False), (37, True))
            for activation in ("silu", "gelu", "gelu_tanh", "quick_gelu", "relu")
        ]

    def tensors(self, num_tokens, width, setting, generator):
        found = super().tensors(num_tokens, width, setting, generator)
        both = {"both": torch.randn(2 * width, width, generator=generator) / width**0.5}
        if setting["bias"]:
            both["bias_of_both"] = torch.randn(2 * width, generator=generator)
        return found | both

    def call(self, kernel, tensors, lengths, setting):
        del lengths
        first = kernel(tensors["both"], tensors.get("bias_of_both"))
        down = kernel(tensors["weight"], tensors.get("bias"))
        if hasattr(down, "after_gate"):
            in_one_go = down.after_gate(first, gated_native, setting["activation"])
            assert in_one_go is not None
            return in_one_go(tensors["x"])
        return down(gated_torch(first(tensors["x"]), setting["activation"]))


class TestLinearNativeWithGate(KernelConformance):
    name = "linear.native"
    cases = TwoMapsWithGateBetween()


class TestLinearInt8NativeWithGate(KernelConformance):
    name = "linear.int8_native"
    cases = TwoMapsWithGateBetween()
    tolerances = TWICE_IN_BYTES


def test_every_kernel_has_its_class(registry):
    classes = [value for value in globals().values() if isinstance(value, type)]
    tested = {kind.name for kind in classes if issubclass(kind, KernelConformance) and kind is not KernelConformance}
    assert tested == set(registry.kernels.names())
