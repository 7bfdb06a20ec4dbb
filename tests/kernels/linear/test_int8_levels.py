"""int8 on each kind of processor that this one can emulate: VNNI of both widths, and products summed in 16 bits."""

import logging

import numpy as np
import pytest
import torch

from millpond import LLM, UnknownNameError
from millpond.nn import AttentionSpec, PackedBatch
from millpond.testing.checkpoints import tiny
from millpond_kernels import native
from millpond_kernels.attention.native import attention, attention_int8
from millpond_kernels.encoder_layer.native import EncoderLayerAllInt8Native, EncoderLayerInt8Native
from millpond_kernels.encoder_layer.reference import EncoderLayerReference
from millpond_kernels.feed_forward.gated import gated_native
from millpond_kernels.feed_forward.gelu import gelu_native
from millpond_kernels.feed_forward.native import FeedForwardInt8Native, GatedFeedForwardInt8Native
from millpond_kernels.linear.int8 import (
    LinearInt8Native,
    _groups,
    quantize_rows,
    quantize_weight,
    quantize_weight_for_16_bits,
)
from millpond_kernels.norms.layer_norm_residual import layer_norm_residual_native
from millpond_kernels.testing.parts import AttentionModule, LinearModule

ROWS = (0, 1, 3, 4, 5, 13, 97)
SHAPES = ((1, 1), (7, 17), (8, 16), (9, 15), (384, 64), (100, 33))


def rounded(weight):
    """The weights as the kernel of this level holds them, and their scales."""
    quantize = quantize_weight_for_16_bits if native.limits_int8_weights() else quantize_weight
    return quantize(weight)


def expected(x, weight):
    """The same in exact integers, and in float64 for the scales."""
    quantized, scales = rounded(weight)
    rows, row_scales, zeros = quantize_rows(x)
    return (rows.double() - zeros) @ quantized.double().T * row_scales.double() * scales.double()


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products_are_exact_in_every_shape(level, shape):
    inputs, outputs = shape
    linear = LinearInt8Native(draw(outputs, inputs), draw(outputs, seed=1))
    for rows in ROWS:
        x = draw(rows, inputs, seed=rows)
        steps = 1.01 * quantize_rows(x)[1] * linear.weights[1][:outputs] * 128  # roundings of a half may differ
        actual = linear(x, add_bias=False).double()
        assert ((actual - expected(x, draw(outputs, inputs))).abs() <= steps).all(), level


EXTREMES = {
    "all equal": lambda generator: torch.ones(40, 384),
    "all equal and negative": lambda generator: -torch.ones(40, 384),
    "both ends": lambda generator: torch.randint(0, 2, (40, 384), generator=generator) * 127.0 - 64,
    "7 bits": lambda generator: torch.randint(-64, 64, (40, 384), generator=generator).float(),
    "one outlier": lambda generator: torch.eye(40, 384) * 1e6 + 1,
    "zeros": lambda generator: torch.zeros(40, 384),
}


@pytest.mark.parametrize("weights", EXTREMES)
@pytest.mark.parametrize("rows", ["all 255", "0 and 255"])
def test_the_largest_bytes_do_not_overflow(level, weights, rows):
    generator = torch.Generator().manual_seed(3)
    weight = EXTREMES[weights](generator)
    x = torch.full((9, 384), 5.0) if rows == "all 255" else torch.randint(0, 2, (9, 384), generator=generator) * 255.0
    x[:, 0] = 5.0 if rows == "all 255" else 255.0
    actual = LinearInt8Native(weight, None)(x)
    torch.testing.assert_close(actual.double(), expected(x, weight), rtol=1e-6, atol=1e-6, msg=level)


@pytest.mark.parametrize("inputs", [1, 2, 7, 8, 13, 384])
def test_weights_that_share_16_bits_never_exceed_the_limit(inputs):
    generator = torch.Generator().manual_seed(inputs)
    for scale in (1e-30, 1.0, 1e30):
        weights = [scale * make(generator)[:, :inputs] for make in EXTREMES.values()]
        for weight in (*weights, scale * torch.randn(50, inputs, generator=generator) ** 3):
            sums = _groups(quantize_weight_for_16_bits(weight)[0].float())
            assert sums.clamp(min=0).sum(-1).max() <= 128
            assert sums.clamp(max=0).sum(-1).min() >= -128


def test_groups_are_the_inputs_whose_products_share_16_bits():
    (groups,) = _groups(torch.arange(16.0).unsqueeze(0))
    assert groups.tolist() == [[[0, 1, 4, 5], [2, 3, 6, 7]], [[8, 9, 12, 13], [10, 11, 14, 15]]]


def test_outliers_cost_16_bit_sums_little():
    """Steps are smaller than with weights from -64 to 63, which are safe one by one."""
    weight = draw(64, 384)
    weight[:, 5] *= 10
    steps = quantize_weight_for_16_bits(weight)[1]
    assert (steps / (weight.abs().amax(1) / 63)).mean() < 0.75


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_row_that_is_not_finite_becomes_nan_and_no_other_does(level, bad):
    x = draw(11, 50)
    x[6, 49] = bad
    actual = LinearInt8Native(draw(20, 50, seed=1), None)(x)
    assert actual[6].isnan().all(), level
    assert actual[[row for row in range(11) if row != 6]].isfinite().all()


def halves(up, down, gates):
    """The feed-forward halves of these maps, in one call."""
    plain = FeedForwardInt8Native(up=up, down=down, gelu=gelu_native)
    gated = GatedFeedForwardInt8Native(gate_up=gates, down=down, gated=gated_native, activation="silu")
    assert None not in (plain.linears, gated.linears)
    return plain, gated


def mapped(weight, bias=None):
    return LinearModule(LinearInt8Native, weight, bias)


def test_a_row_has_the_same_bits_in_any_batch(level):
    linear = LinearInt8Native(draw(70, 100), draw(70, seed=1))
    fused = halves(mapped(draw(128, 70), draw(128)), mapped(draw(70, 128)), mapped(draw(256, 70)))
    for function, width in zip((linear, *fused), (100, 70, 70), strict=True):
        x = draw(103, width, seed=2)
        together = function(x)
        alone = torch.cat([function(x[row : row + 1]) for row in range(103)])
        assert torch.equal(alone, together), level


def test_two_maps_in_one_call_are_the_two_apart(level):
    up, down = mapped(draw(130, 70) / 8, draw(130)), mapped(draw(60, 130) / 11)
    gates = mapped(draw(260, 70) / 8, draw(260))
    x = draw(103, 70, seed=2)
    plain, gated = halves(up, down, gates)
    apart = down(gelu_native(up(x), torch.zeros(130)))
    torch.testing.assert_close(plain(x), apart, atol=0.05, rtol=0, msg=level)
    apart = down(gated_native(gates(x), "silu"))
    torch.testing.assert_close(gated(x), apart, atol=0.05, rtol=0, msg=level)


def test_a_layer_in_one_call_is_its_parts_one_by_one(level):
    in_bytes = level == "avx512_vnni"
    maps = {
        "qkv": mapped(draw(144, 48) / 7, draw(144)),
        "output": mapped(draw(48, 48) / 7, draw(48)),
    }
    up, down = mapped(draw(80, 48) / 7, draw(80)), mapped(draw(48, 80) / 9, draw(48))
    parts = {
        **maps,
        "attention": AttentionModule(attention_int8 if in_bytes else attention, AttentionSpec(scale=0.25)),
        "feed_forward": FeedForwardInt8Native(up=up, down=down, gelu=gelu_native),
        "norm": layer_norm_residual_native,
        "attention_norm": (draw(48), draw(48), draw(48), 1e-5),
        "feed_forward_norm": (draw(48), draw(48), draw(48), 1e-5),
        "num_heads": 3,
    }
    batch = PackedBatch.pack([torch.zeros(length, dtype=torch.long) for length in (1, 7, 7, 40, 99)])
    x = draw(batch.num_tokens, 48)
    whole = (EncoderLayerAllInt8Native if in_bytes else EncoderLayerInt8Native)(**parts)
    assert whole.layer is not None
    assert torch.equal(whole(x, batch), EncoderLayerReference(**parts)(x, batch)), level


# --- models -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Checkpoints of three kinds of feed-forward halves, wide enough for int8 to be near float32."""
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 192}
    names = ("BertModel", "ModernBertModel", "Qwen3Model")
    return {name: str(tiny(name, tmp_path_factory.mktemp(name), **sizes)) for name in names}


def embed(folder, **settings):
    texts = ["one", "two three four", "one two " * 12, "five " * 10]
    with LLM(folder, num_workers=1, **settings) as llm:
        return np.stack([output.outputs.array for output in llm.embed(texts, use_tqdm=False)]), llm


@pytest.mark.parametrize("name", ["BertModel", "ModernBertModel", "Qwen3Model"])
def test_models_in_int8_are_near_float32_at_every_level(level, folders, name):
    exact, _ = embed(folders[name])
    close, llm = embed(folders[name], quantization="int8")
    kernels = {type(module.map).__name__ for module in llm._loaded.model.modules() if hasattr(module, "map")}  # noqa: SLF001
    assert kernels == {"LinearInt8Native"}, level
    assert (exact * close).sum(1).min() > 0.99, level
    assert not np.array_equal(exact, close)


# --- the choice -------------------------------------------------------------------------------------------------------


def chosen(folder, **settings):
    with LLM(folder, num_workers=1, skip_tokenizer_init=True, quantization="int8", **settings) as llm:
        return {type(module.map).__name__ for module in llm._loaded.model.modules() if hasattr(module, "map")}  # noqa: SLF001


@pytest.fixture
def nothing_compiled(monkeypatch):
    """No compiled kernels; the flags of a processor are given by the test."""
    monkeypatch.setenv("MILLPOND_NO_NATIVE", "1")
    monkeypatch.delenv(native.LEVEL_VARIABLE, raising=False)

    def flags(*names):
        monkeypatch.setattr(native, "processor_flags", lambda: dict.fromkeys(names, True))

    native_warning = pytest.importorskip("millpond_kernels.linear.dequantized").warn_of_dequantizing
    native_warning.cache_clear()
    yield flags
    native_warning.cache_clear()


def test_torchs_integer_product_serves_where_it_is_one_of_vnni(nothing_compiled, folders):
    nothing_compiled("avx512_vnni")
    assert chosen(folders["BertModel"]) == {"LinearInt8Torch"}


@pytest.mark.parametrize("flags", [(), ("avx2",), ("avx2", "avx_vnni"), ("avx2", "avx512_f")], ids=str)
def test_without_a_fast_product_weights_are_dequantized_with_one_warning(nothing_compiled, folders, caplog, flags):
    nothing_compiled(*flags)
    with caplog.at_level(logging.WARNING, logger="millpond_kernels"):
        assert chosen(folders["BertModel"]) == {"LinearDequantized"}
        assert chosen(folders["BertModel"], batch_invariant=True) == {"LinearDequantizedTiles"}
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith("quantization='int8': no fast kernel for 8-bit integers runs here")
    assert "is switched off by MILLPOND_NO_NATIVE" in message
    assert "needs a processor with AVX-512 VNNI" in message
    assert "results are those of int8 weights, the speed is that of float32" in message


def test_no_warning_where_a_fast_kernel_was_left_aside(nothing_compiled, folders, caplog):
    nothing_compiled("avx512_vnni")
    with caplog.at_level(logging.WARNING, logger="millpond_kernels"):
        assert chosen(folders["BertModel"], kernels={"linear": "int8_dequantized"}) == {"LinearDequantized"}
    assert not caplog.records


def test_dequantized_weights_are_those_of_int8(nothing_compiled, folders):
    nothing_compiled()
    exact, _ = embed(folders["BertModel"])
    close, llm = embed(folders["BertModel"], quantization="int8")
    assert 0.995 < (exact * close).sum(1).min() < 1
    (weight, *_) = [module.map.weight for module in llm._loaded.model.modules() if hasattr(module, "map")]  # noqa: SLF001
    again, scales = quantize_weight(weight)
    torch.testing.assert_close(again * scales.unsqueeze(1), weight, rtol=1e-6, atol=1e-8)


def test_torchs_slow_product_is_refused_even_where_it_is_named(nothing_compiled, folders):
    nothing_compiled("avx2")
    with pytest.raises(UnknownNameError, match=r"int8_torch needs a processor with AVX-512 VNNI"):
        chosen(folders["BertModel"], kernels={"linear": "int8_torch"})
