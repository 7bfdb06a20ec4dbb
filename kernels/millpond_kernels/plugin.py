"""Records of the built-in kernels."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import KernelSpec

NATIVE_AVAILABLE = "millpond_kernels.native:availability"
NATIVE_INT8_ATTENTION_AVAILABLE = "millpond_kernels.native:int8_attention_availability"
NATIVE_BF16_ATTENTION_AVAILABLE = "millpond_kernels.native:bf16_attention_availability"
TORCH_INT8_AVAILABLE = "millpond_kernels.native:torch_int8_availability"
TRITON_AVAILABLE = "millpond_kernels.gpu:triton_availability"
# Tested in Triton's interpreter and compiled for GPUs, but not yet run on one: used only if selected by name.
GPU_PRIORITY = -10
# The rounding of torch's activations depends on the address of a value. Op -> the variant that is batch-invariant.
BATCH_INVARIANT_VARIANTS = {"gelu": "erf", "gated": "exp"}
# The formats of compiled linear layers: the prefix of a kernel's name, the scheme, and a summary.
FORMATS = (
    ("", None, "compiled"),
    ("bf16_", "bfloat16", "compiled, with weights in bfloat16"),
    ("int8_", "int8", "compiled, in 8-bit integers"),
)
ATTENTION_FEATURES = ("softcap", "distance_bias", "pair_bias", "masked_tokens")


# Op -> the test cases of its kernels, below millpond_kernels.testing.
CASES = {
    "attention": "attention:AttentionCases",
    "encoder_layer": "encoder_layer:EncoderLayerCases",
    "feed_forward": "feed_forward:FeedForwardCases",
    "gated": "feed_forward:GatedCases",
    "gated_feed_forward": "feed_forward:GatedFeedForwardCases",
    "gelu": "feed_forward:GeluCases",
    "layer_norm_residual": "layers:LayerNormResidualCases",
    "linear": "layers:LinearCases",
    "maxsim": "pooling:MaxsimCases",
    "normalize": "pooling:NormalizeCases",
    "rms_norm": "layers:RmsNormCases",
    "rotary": "attention:RotaryCases",
    "segment_pool": "pooling:SegmentPoolCases",
    "splade": "pooling:SpladeCases",
}


@hookimpl
def register_kernels() -> Iterator[KernelSpec]:
    """Register the kernels of all built-in ops."""
    for spec in kernels():
        yield replace(spec, cases=f"millpond_kernels.testing.{CASES[spec.op]}")


def kernels() -> Iterator[KernelSpec]:
    """Yield the records of kernels for attention, linear layers, fused layers and the ops after the model."""
    yield native(
        name="attention.native",
        target="millpond_kernels.attention.native:attention",
        summary="compiled, for short sequences; longer ones go to attention.sdpa",
        features=("distance_bias", "masked_tokens"),
    )
    yield native(
        name="attention.int8_native",
        target="millpond_kernels.attention.native:attention_int8",
        summary="compiled, products in 8-bit integers, for short sequences; longer ones go to attention.sdpa",
        available=NATIVE_INT8_ATTENTION_AVAILABLE,
        quantization="int8",
        features=("masked_tokens",),
    )
    yield native(
        name="attention.bf16_native",
        target="millpond_kernels.attention.native:attention_bf16",
        summary="compiled, products in bfloat16, for short sequences; longer ones go to attention.sdpa",
        available=NATIVE_BF16_ATTENTION_AVAILABLE,
        quantization="bfloat16",
        features=("masked_tokens",),
    )
    yield KernelSpec(
        name="attention.sdpa",
        target="millpond_kernels.attention.sdpa:attention",
        summary="torch's scaled_dot_product_attention over groups of equal length",
        priority=10,
        features=ATTENTION_FEATURES,
    )
    yield KernelSpec(
        name="attention.reference",
        target="millpond_kernels.attention.reference:attention",
        summary="plain float32 torch, one sequence at a time: the reference for the others",
        batch_invariant=True,
        features=ATTENTION_FEATURES,
    )
    yield KernelSpec(
        name="attention.varlen",
        target="millpond_kernels.attention.varlen:attention",
        summary="torch's FlashAttention over packed sequences, on NVIDIA GPUs",
        priority=GPU_PRIORITY,
        devices=("cuda",),
        dtypes=("float16", "bfloat16"),
        available="millpond_kernels.gpu:varlen_availability",
    )
    yield from linear_kernels()
    yield from activation_and_norm_kernels()
    yield from fused_kernels()
    yield from pooling_kernels()
    for op, module in (
        ("layer_norm_residual", "norms.layer_norm_residual"),
        ("segment_pool", "pooling.segment_pool"),
        ("maxsim", "pooling.maxsim"),
    ):
        yield KernelSpec(
            name=f"{op}.triton",
            target=f"millpond_kernels.{module}:{op}_triton",
            summary="one kernel in Triton, for NVIDIA GPUs",
            priority=GPU_PRIORITY,
            devices=("cuda",),
            available=TRITON_AVAILABLE,
        )


def native(**record: Any) -> KernelSpec:
    """Return the record of a compiled kernel, which precedes torch's kernels and is batch-invariant."""
    record.setdefault("available", NATIVE_AVAILABLE)
    return KernelSpec(priority=20, devices=("cpu",), dtypes=("float32",), batch_invariant=True, **record)


def linear_kernels() -> Iterator[KernelSpec]:
    """Yield the records of ``linear``, in floats and in 8-bit integers."""
    yield native(
        name="linear.native",
        target="millpond_kernels.linear.native:LinearNative",
        summary="compiled, with the weights laid out for the vector units",
    )
    yield KernelSpec(
        name="linear.torch", target="millpond_kernels.linear.in_torch:LinearTorch", summary="torch's linear layer"
    )
    yield KernelSpec(
        name="linear.tiles",
        target="millpond_kernels.linear.in_torch:LinearTiles",
        summary="torch's product with one fixed shape: slow, batch-invariant",
        priority=-20,
        batch_invariant=True,
    )
    yield native(
        name="linear.bf16_native",
        target="millpond_kernels.linear.bf16:LinearBf16Native",
        summary="compiled, with weights in bfloat16 and sums in float32",
        quantization="bfloat16",
    )
    yield from int8_linear_kernels()


def int8_linear_kernels() -> Iterator[KernelSpec]:
    """Yield the records of ``linear`` with weights in 8-bit integers."""
    yield native(
        name="linear.int8_native",
        target="millpond_kernels.linear.int8:LinearInt8Native",
        summary="compiled, in 8-bit integers: quantizes, multiplies and scales in one call",
        quantization="int8",
    )
    yield KernelSpec(
        name="linear.int8_torch",
        target="millpond_kernels.linear.int8:LinearInt8Torch",
        summary="torch's integer product (oneDNN's on a CPU), with quantization and scaling in torch",
        devices=("cpu",),
        available=TORCH_INT8_AVAILABLE,
        quantization="int8",
        batch_invariant=True,
    )
    yield KernelSpec(
        name="linear.int8_dequantized",
        target="millpond_kernels.linear.dequantized:LinearDequantized",
        summary="weights rounded to 8-bit integers, products in floats: for processors without fast integer products",
        priority=-10,
        devices=("cpu",),
        quantization="int8",
    )
    yield KernelSpec(
        name="linear.int8_dequantized_tiles",
        target="millpond_kernels.linear.dequantized:LinearDequantizedTiles",
        summary="the same with one fixed shape of products: slow, batch-invariant",
        priority=-20,
        devices=("cpu",),
        quantization="int8",
        batch_invariant=True,
    )


def activation_and_norm_kernels() -> Iterator[KernelSpec]:
    """Yield the records of activations, gates, norms and rotary embeddings."""
    for op, folder, summary in (
        ("gelu", "feed_forward", "the exact GELU of x + bias"),
        ("gated", "feed_forward", "the activation of the first half of a row, times the second half"),
        ("rotary", "attention", "rotary position embeddings of heads"),
        ("layer_norm_residual", "norms", "LayerNorm of x + bias + residual"),
        ("rms_norm", "norms", "rows divided by their root mean square"),
    ):
        yield KernelSpec(
            name=f"{op}.torch",
            target=f"millpond_kernels.{folder}.{op}:{op}_torch",
            summary=f"{summary}, in plain torch",
            batch_invariant=op not in BATCH_INVARIANT_VARIANTS,
        )
        yield native(
            name=f"{op}.native",
            target=f"millpond_kernels.{folder}.{op}:{op}_native",
            summary=f"{summary}, compiled, in one pass",
        )
    for op, name in BATCH_INVARIANT_VARIANTS.items():
        yield KernelSpec(
            name=f"{op}.{name}",
            target=f"millpond_kernels.feed_forward.{op}:{op}_{name}",
            summary="the same, with torch functions whose rounding does not depend on the address of a value: slow",
            priority=-20,
            batch_invariant=True,
        )


def fused_kernels() -> Iterator[KernelSpec]:
    """Yield the records of fused ops: feed-forward blocks and encoder layers."""
    for op, module, summary in (
        ("feed_forward", "feed_forward", "two linear layers with GELU"),
        ("gated_feed_forward", "feed_forward", "two linear layers with a gated activation"),
        ("encoder_layer", "encoder_layer", "a post-norm encoder layer"),
    ):
        name = "".join(map(str.capitalize, op.split("_")))
        yield KernelSpec(
            name=f"{op}.reference",
            target=f"millpond_kernels.{module}.reference:{name}Reference",
            summary=f"{summary}, with one kernel call per op",
            batch_invariant=True,
        )
    for prefix, quantization, summary in FORMATS:
        suffix = prefix.capitalize().strip("_")
        if quantization is not None:
            yield native(
                name=f"feed_forward.{prefix}native",
                target=f"millpond_kernels.feed_forward.native:FeedForward{suffix}Native",
                summary=f"{summary}, in one call",
                quantization=quantization,
                fuses=(f"linear.{prefix}native", "gelu.native"),
            )
        yield native(
            name=f"gated_feed_forward.{prefix}native",
            target=f"millpond_kernels.feed_forward.native:GatedFeedForward{suffix}Native",
            summary=f"{summary}, in one call",
            quantization=quantization,
            fuses=(f"linear.{prefix}native", "gated.native"),
        )
    activation_and_norm = ("gelu.native", "layer_norm_residual.native")
    yield native(
        name="encoder_layer.native",
        target="millpond_kernels.encoder_layer.native:EncoderLayerNative",
        summary="compiled, in one call, for batches of short sequences",
        fuses=("attention.native", "linear.native", "feed_forward.reference", *activation_and_norm),
    )
    for name, target, linear, attention, quantization in (
        ("int8_native", "EncoderLayerAllInt8Native", "int8_native", "attention.int8_native", "int8"),
        ("int8_maps_native", "EncoderLayerInt8Native", "int8_native", "attention.native", "int8"),
        ("bf16_native", "EncoderLayerAllBf16Native", "bf16_native", "attention.bf16_native", "bfloat16"),
        ("bf16_maps_native", "EncoderLayerBf16Native", "bf16_native", "attention.native", "bfloat16"),
    ):
        yield native(
            name=f"encoder_layer.{name}",
            target=f"millpond_kernels.encoder_layer.native:{target}",
            summary=f"the same with linear layers in {quantization} and {attention}",
            quantization=quantization,
            fuses=(attention, f"linear.{linear}", f"feed_forward.{linear}", *activation_and_norm),
        )


def pooling_kernels() -> Iterator[KernelSpec]:
    """Yield the records of ops on hidden states: pooling, normalization, sparse vectors, late interaction."""
    yield KernelSpec(
        name="segment_pool.torch",
        target="millpond_kernels.pooling.segment_pool:segment_pool_torch",
        summary="the sum, mean or maximum of each sequence's rows, in plain torch",
        batch_invariant=True,
    )
    yield native(
        name="segment_pool.native",
        target="millpond_kernels.pooling.segment_pool:segment_pool_native",
        summary="sums and means compiled, in one pass; maxima go to segment_pool.torch",
    )
    yield KernelSpec(
        name="normalize.torch",
        target="millpond_kernels.pooling.normalize:normalize_torch",
        summary="vectors divided by their length, in plain torch",
        batch_invariant=True,
    )
    yield KernelSpec(
        name="splade.torch",
        target="millpond_kernels.pooling.splade:splade_torch",
        summary="the weights of the tokens of the vocabulary in plain torch, one sequence at a time: the reference",
        batch_invariant=True,
    )
    yield KernelSpec(
        name="splade.blocks",
        target="millpond_kernels.pooling.splade:splade_blocks",
        summary="the same in blocks of rows, with bounded memory",
        priority=10,
        batch_invariant=True,
    )
    yield KernelSpec(
        name="maxsim.torch",
        target="millpond_kernels.pooling.maxsim:maxsim_torch",
        summary="late interaction in plain torch, one pair at a time: the reference for the others",
    )
    yield KernelSpec(
        name="maxsim.batched",
        target="millpond_kernels.pooling.maxsim:maxsim_batched",
        summary="late interaction with matrix products of blocks of documents, with bounded memory",
        priority=10,
    )
