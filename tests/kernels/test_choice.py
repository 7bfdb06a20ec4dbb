"""The choice of the kernel of an op: by device, dtype, availability and priority, or by name."""

import sys
from types import ModuleType

import pytest
import torch

from millpond import LLM, InvalidInputError, UnknownNameError
from millpond.context import Context
from millpond.model.spec import ModelIdentity, ResolvedModel
from millpond.nn import NUM_ATTENDED, Attention, PackedBatch
from millpond.plugin.kernels import OpContext, check_quantization, choose_kernel, rank_kernels
from millpond.plugin.registry import Origin, Registry
from millpond.plugin.specs import KernelSpec
from millpond.testing.checkpoints import tiny
from millpond.types.compute import ComputeOptions
from millpond.types.config import CheckpointConfig, PoolerConfig
from millpond_kernels import native

MINE = Origin(plugin="mine", rank="installed", distribution="millpond-mine", version="1.0")
THEIRS = Origin(plugin="theirs", rank="installed", distribution="millpond-theirs", version="1.0")
CPU = torch.device("cpu")
HERE = OpContext(device=CPU, dtype=torch.float32)
INT8 = OpContext(device=CPU, dtype=torch.float32, quantization="int8")
asked = []


def yes():
    asked.append("yes")
    return True


def no():
    asked.append("no")
    return False


def breaks():
    message = "no such driver"
    raise OSError(message)


def exits():
    raise SystemExit(5)


@pytest.fixture
def kernels():
    """A registry of kernels alone; the availability functions of this module can be named."""
    registry = Registry()
    asked.clear()

    def kernels(*specs, origin=MINE):
        for spec in specs:
            registry.register(spec, origin)
        return registry

    return kernels


@pytest.fixture
def here(monkeypatch):
    """The name under which targets can import this module."""
    module = ModuleType("kernels_under_test")
    module.yes, module.no, module.breaks, module.exits = yes, no, breaks, exits
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.__name__


def kernel(variant, **settings):
    return KernelSpec(name=f"op.{variant}", target=f"nowhere:{variant}", **settings)


def chosen(registry, *, device=CPU, dtype=torch.float32, variant=None, **how):
    return choose_kernel(
        registry, "op", OpContext(device=device, dtype=dtype, **how), variant=variant
    ).entry.spec.variant


def test_a_quantized_kernel_is_selected_only_on_request(kernels):
    registry = kernels(kernel("plain", priority=50), kernel("small", quantization="int8"))
    assert chosen(registry) == "plain"
    assert chosen(registry, quantization="int8") == "small"
    assert rank_kernels(registry, "op", HERE)[-1].reason == "is only for quantization='int8'"


def test_an_op_without_a_quantized_kernel_is_computed_as_usual(kernels):
    assert chosen(kernels(kernel("plain")), quantization="int8") == "plain"


def test_batch_invariant_models_need_batch_invariant_kernels(kernels):
    registry = kernels(kernel("fast", priority=50), kernel("invariant", batch_invariant=True))
    assert (chosen(registry), chosen(registry, batch_invariant=True)) == ("fast", "invariant")
    with pytest.raises(UnknownNameError, match=r", batch-invariant: .*op\.fast is not batch-invariant"):
        chosen(registry, batch_invariant=True, variant="fast")


def test_a_kernel_must_have_the_required_features(kernels):
    registry = kernels(kernel("fast", priority=50), kernel("able", features=("softcap", "pair_bias")))
    assert (chosen(registry), chosen(registry, required_features=("softcap",))) == ("fast", "able")
    verdicts = rank_kernels(
        registry, "op", OpContext(device=CPU, dtype=torch.float32, required_features=("softcap", "pair_bias"))
    )
    assert [verdict.reason for verdict in verdicts] == ["fits, priority 0", "does not support softcap, pair_bias"]
    with pytest.raises(UnknownNameError, match=r"with softcap: .*op\.fast does not support softcap"):
        chosen(registry, required_features=("softcap",), variant="fast")


def test_an_unknown_quantization_is_refused(kernels):
    small = KernelSpec(name="linear.small", target="nowhere:small", quantization="int8")
    registry = kernels(KernelSpec(name="linear.plain", target="nowhere:plain"), small)
    check_quantization(registry, INT8)
    with pytest.raises(InvalidInputError, match=r"quantization='int4' is not supported by 'linear\.plain'"):
        check_quantization(registry, OpContext(device=CPU, dtype=torch.float32, quantization="int4"))


def test_a_quantization_that_the_chosen_linear_maps_do_not_compute_in_is_refused(kernels):
    small = KernelSpec(name="linear.small", target="nowhere:small", quantization="int8", devices=("cuda",))
    registry = kernels(KernelSpec(name="linear.plain", target="nowhere:plain"), small)
    with pytest.raises(InvalidInputError, match=r"not supported by 'linear.plain': .*linear\.small runs on cuda"):
        check_quantization(registry, INT8)


def test_the_highest_priority_is_used(kernels):
    registry = kernels(
        kernel("a", priority=1), kernel("b", priority=3), kernel("c", priority=2), kernel("d", priority=-9)
    )
    assert chosen(registry) == "b"
    verdicts = rank_kernels(registry, "op", HERE)
    assert [verdict.entry.spec.variant for verdict in verdicts] == ["b", "c", "a", "d"]
    assert all(verdict.fits for verdict in verdicts)


def test_only_kernels_of_the_op_are_ranked(kernels):
    registry = kernels(kernel("a"), KernelSpec(name="other.b", target="x:y", priority=9))
    assert len(rank_kernels(registry, "op", HERE)) == 1


def test_a_kernel_of_another_device_is_not_selected(kernels):
    registry = kernels(kernel("fast", devices=("cuda",), priority=9), kernel("any"))
    assert chosen(registry) == "any"
    assert chosen(registry, device=torch.device("cuda:1")) == "fast"
    (_, refused) = rank_kernels(registry, "op", HERE)
    assert (refused.fits, refused.reason) == (False, "runs on cuda, not on cpu")


def test_a_kernel_of_other_dtypes_is_not_selected(kernels):
    registry = kernels(kernel("half", dtypes=("float16", "bfloat16"), priority=9), kernel("any"))
    assert chosen(registry) == "any"
    assert chosen(registry, dtype=torch.bfloat16) == "half"
    (_, refused) = rank_kernels(registry, "op", HERE)
    assert refused.reason == "computes in float16, bfloat16, not in float32"


def test_a_kernel_that_rejects_the_context_is_not_selected(kernels, here):
    registry = kernels(
        kernel("no", available=f"{here}:no", priority=9),
        kernel("yes", available=f"{here}:yes", priority=1),
        kernel("any"),
    )
    assert chosen(registry) == "yes"
    refused = rank_kernels(registry, "op", HERE)[-1]
    assert refused.reason == f"cannot run here ({here}:no returned False)"


def test_kernels_after_the_selected_one_are_not_checked(kernels, here):
    registry = kernels(kernel("best", priority=9), kernel("no", available=f"{here}:no", priority=1))
    assert chosen(registry) == "best"
    assert asked == []


def test_the_availability_of_kernels_of_other_devices_is_not_checked(kernels, here):
    registry = kernels(kernel("a", available=f"{here}:yes", devices=("cuda",)), kernel("b"))
    assert chosen(registry) == "b"
    assert asked == []


@pytest.mark.parametrize(
    "available",
    ["kernels_under_test:breaks", "kernels_under_test:exits", "no_such_module:f", "kernels_under_test:absent", "x"],
)
@pytest.mark.usefixtures("here")
def test_a_kernel_whose_availability_check_fails_is_not_selected(kernels, available):
    """A broken plugin must not cost the models that could do without it."""
    registry = kernels(kernel("broken", available=available, priority=9), kernel("any"))
    assert chosen(registry) == "any"
    refused = rank_kernels(registry, "op", HERE)[-1]
    assert not refused.fits
    assert available in refused.reason
    with pytest.raises(UnknownNameError, match="broken"):
        chosen(registry, variant="broken")


@pytest.mark.parametrize("name", ["b", "op.b", "mine/op.b"])
def test_the_user_names_one(kernels, name):
    registry = kernels(kernel("a", priority=9), kernel("b", priority=-1))
    assert chosen(registry, variant=name) == "b"


def test_one_that_is_named_and_cannot_run_is_an_error(kernels):
    registry = kernels(kernel("a"), kernel("b", devices=("cuda",)))
    for name in ("b", "op.b"):
        with pytest.raises(UnknownNameError, match=r"no kernel for 'op\.b' on cpu .*op\.b runs on cuda, not on cpu"):
            chosen(registry, variant=name)


def test_one_that_is_named_and_not_there_is_an_error_that_lists_the_others(kernels):
    registry = kernels(kernel("a"), kernel("b", devices=("cuda",)))
    with pytest.raises(UnknownNameError, match=r"'op\.c' on cpu in torch\.float32: op\.a fits.*; op\.b runs on cuda"):
        chosen(registry, variant="c")


def test_the_error_without_a_suitable_kernel_states_the_reasons(kernels):
    registry = kernels(kernel("a", devices=("cuda",)), kernel("b", dtypes=("float16",)))
    with pytest.raises(UnknownNameError, match=r"no kernel for 'op' on cpu.*op\.a runs on cuda.*op\.b computes in"):
        chosen(registry)


def test_the_error_for_an_unknown_op_lists_the_known_ops(kernels):
    with pytest.raises(UnknownNameError, match=r"Unknown op 'pool'\. Available: op\. A plugin provides it with"):
        rank_kernels(kernels(kernel("a")), "pool", HERE)
    with pytest.raises(UnknownNameError, match=r"Available: none"):
        rank_kernels(Registry(), "pool", HERE)


def test_an_unknown_variant_is_refused_even_if_the_model_does_not_use_the_op(tmp_path):
    folder = str(tiny("BertModel", tmp_path / "model"))
    with pytest.raises(UnknownNameError, match=r"no kernel for 'splade\.bloks' on cpu in .*: splade\.blocks fits"):
        LLM(folder, kernels={"splade": "bloks"})
    LLM(folder, kernels={"splade": "kernels/splade.torch"}).close()


def test_the_kernel_of_a_name_that_two_plugins_bear_is_named_whole(kernels):
    kernels(kernel("a"))
    registry = kernels(kernel("a", priority=1), origin=THEIRS)
    for name, origin in (("mine/op.a", MINE), ("theirs/op.a", THEIRS)):
        match = choose_kernel(registry, "op", HERE, variant=name)
        assert match.entry.origin is origin


# --- the built-in kernels -------------------------------------------------------------------------------------------


def test_the_built_in_ops_have_a_kernel_for_any_device_and_dtype(registry):
    ops = {entry.spec.op for entry in registry.kernels.entries()}
    assert {"attention", "linear"} <= ops
    for op in ops:
        plain = [entry.spec for entry in registry.kernels.entries() if entry.spec.op == op]
        assert any(not spec.devices and not spec.dtypes and spec.available is None for spec in plain), op


def context(registry, kernels):
    config = CheckpointConfig({})
    model = ResolvedModel(
        identity=ModelIdentity(model="", path="", source="", architecture=""),
        hf_config=config,
        max_model_len=1,
        dtype="float32",
        pooler_config=PoolerConfig(),
        tasks=(),
    )
    compute = ComputeOptions(kernels=kernels)
    return Context(registry=registry, model=model, config=config, device=CPU, dtype=torch.float32, compute=compute)


@pytest.mark.parametrize("kernels", [{}, {"attention": "reference"}, {"attention": "attention.sdpa"}], ids=str)
def test_a_context_returns_the_selected_kernel(registry, kernels):
    ctx = context(registry, kernels)
    variant = kernels.get("attention")
    verdict = choose_kernel(registry, "attention", HERE, variant=variant)
    assert ctx.op("attention") is verdict.entry.load()
    assert variant is None or verdict.entry.spec.name.endswith(variant)


def test_a_kernel_without_masks_computes_prompts_without_masked_tokens(registry):
    registry.register(KernelSpec(name="attention.sighted", target=lambda query, *_: query), MINE)
    ctx = context(registry, {"attention": "sighted"})
    attention = Attention(ctx, head_dim=4)
    states = torch.randn(3, 5, 2, 4, generator=torch.Generator().manual_seed(0)).unbind()
    plain = PackedBatch.pack([torch.zeros(5)])
    assert torch.equal(attention(*states, plain), states[0].flatten(1))
    hiding = PackedBatch.pack([torch.zeros(5)], features=[{NUM_ATTENDED: 2}])
    with pytest.raises(InvalidInputError, match=r"masked tokens: .*attention\.sighted does not support masked_tokens"):
        attention(*states, hiding)
    assert Attention(context(registry, {}), head_dim=4)(*states, hiding).shape == (5, 8)


@pytest.mark.parametrize("chosen", [{"kernels": {"attention": "reference"}}, {"attention_backend": "reference"}])
def test_llm_uses_the_requested_attention(tmp_path, chosen):
    folder = str(tiny("BertModel", tmp_path))
    with LLM(folder) as llm, LLM(folder, **chosen) as other:
        usual, kernel = (model._loaded.model.layers[0].attention.attention.kernel for model in (llm, other))  # noqa: SLF001
        assert kernel.__module__ == "millpond_kernels.attention.reference" != usual.__module__
        (one,), (two,) = llm.embed("the cat"), other.embed("the cat")
        assert abs(one.outputs.array - two.outputs.array).max() <= 1e-6


@pytest.mark.parametrize(
    "kernels", [{"attention": "flash"}, {"atention": "sdpa"}, {"linear": "attention.sdpa"}], ids=str
)
def test_llm_refuses_a_kernel_that_is_not_there(tmp_path, kernels):
    (op,) = kernels
    with pytest.raises(UnknownNameError, match=op):
        LLM(str(tiny("BertModel", tmp_path)), kernels=kernels)


# --- kernels that fuse others -----------------------------------------------------------------------------------------


@pytest.fixture
def fusing(kernels):
    """A registry of an op, a kernel that fuses parts, and two kernels of a part."""
    return lambda *parts: kernels(
        KernelSpec(name="part.plain", target="nowhere:plain"),
        KernelSpec(name="part.fast", target="nowhere:fast", priority=20, dtypes=("float32",)),
        KernelSpec(name="op.reference", target="nowhere:reference"),
        KernelSpec(name="op.fused", target="nowhere:fused", priority=20, fuses=parts),
    )


def test_a_fused_kernel_is_chosen_where_its_parts_would_be(fusing):
    registry = fusing("part.fast")
    assert chosen(registry) == "fused"
    assert chosen(registry, dtype=torch.bfloat16) == "reference"
    assert chosen(registry, kernels={"part": "fast"}) == "fused"
    assert chosen(registry, kernels={"part": "plain"}) == "reference"
    (_, refused) = rank_kernels(registry, "op", OpContext(device=CPU, dtype=torch.float32, kernels={"part": "plain"}))
    assert refused.reason == "fuses part.fast, but mine/part.plain is used here"


def test_a_variant_that_the_user_names_replaces_a_fused_kernel(fusing):
    registry = fusing("part")
    assert chosen(registry) == chosen(registry, dtype=torch.bfloat16) == "fused"
    assert chosen(registry, kernels={"part": "fast"}) == "reference"


def test_a_kernel_of_another_plugin_replaces_a_fused_kernel(fusing):
    registry = fusing("part.fast")
    registry.register(KernelSpec(name="part.faster", target="nowhere:faster", priority=30), THEIRS)
    assert chosen(registry) == "reference"
    registry.register(
        KernelSpec(name="op.joined", target="nowhere:x", priority=30, fuses=("theirs/part.faster",)), MINE
    )
    assert chosen(registry) == "joined"


def test_a_fused_kernel_with_an_unusable_part_is_not_chosen(fusing):
    assert chosen(fusing("part.fast", "elsewhere.fast")) == "reference"
    assert chosen(fusing("part.absent")) == "reference"


def test_a_fused_kernel_named_together_with_another_part_is_refused(fusing):
    with pytest.raises(UnknownNameError, match=r"op\.fused fuses part\.fast, but mine/part\.plain is used here"):
        chosen(fusing("part.fast"), kernels={"op": "fused", "part": "plain"})


FUSED = ("encoder_layer", "feed_forward", "gated_feed_forward")


def served(llm):
    ctx = llm._loaded.context  # noqa: SLF001
    specs = {op: choose_kernel(ctx.registry, op, setting).entry.spec for op, setting in ctx.requested.ops.items()}
    return {op: spec.variant for op, spec in specs.items()}


@pytest.mark.parametrize("name", ["BertModel", "LlamaModel"])
@pytest.mark.parametrize(
    ("kernels", "lost"),
    [
        ({"attention": "sdpa"}, ("encoder_layer",)),
        ({"gelu": "torch"}, ("encoder_layer", "feed_forward")),
        ({"linear": "torch"}, FUSED),
        ({"gated": "torch"}, ("gated_feed_forward",)),
        ({"encoder_layer": "reference"}, ("encoder_layer",)),
    ],
    ids=str,
)
def test_a_variant_that_the_user_names_serves_in_place_of_the_fused_op(tmp_path, name, kernels, lost):
    folder = str(tiny(name, tmp_path))
    with LLM(folder) as llm, LLM(folder, kernels=kernels) as other:
        usual, selected = served(llm), served(other)
        (one,), (two,) = llm.embed("the cat"), other.embed("the cat")
    assert abs(one.outputs.array - two.outputs.array).max() <= 1e-5
    for op in set(FUSED) & set(usual):
        assert selected[op] == ("reference" if op in lost else usual[op]), op
    for op in set(kernels) & set(selected):
        assert selected[op] == kernels[op]


@pytest.mark.skipif(not native.is_available(), reason="needs the kernels compiled for this processor")
@pytest.mark.parametrize("quantization", [None, "int8"])
def test_a_bert_layer_is_one_call_of_compiled_code(tmp_path, quantization):
    with LLM(str(tiny("BertModel", tmp_path, num_attention_heads=2)), quantization=quantization) as llm:
        llm.embed("the cat")
        layers = llm._loaded.model.layers  # noqa: SLF001
        assert all(layer.kernel.layer is not None for layer in layers)
        in_bytes = native.int8_attention_availability() is True
        variant = {None: "native", "int8": "int8_native" if in_bytes else "int8_maps_native"}[quantization]
        assert served(llm)["encoder_layer"] == variant
