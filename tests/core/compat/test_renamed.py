"""Former names of modules, classes, fields and arguments work for one release, with a DeprecationWarning."""

import importlib

import pytest
import torch

import millpond_io.prompts
from millpond import LLM, InvalidInputError, PoolingParams
from millpond.nn import Attention, AttentionSpec, PackedBatch
from millpond.nn.ops import OpContext
from millpond.plugin.specs import KernelSpec, TaskSpec
from millpond.testing.checkpoints import tiny
from millpond.testing.contexts import bare_context
from millpond.testing.kernel_cases import KernelCases
from millpond.types import prompts
from millpond.types.checkpoint import RetrievalFacts, TextFacts
from millpond.types.config import Choice
from millpond.types.model_info import RetrievalInfo
from millpond_command.model_arguments import arguments_of
from millpond_command.model_options import ServeOptions


@pytest.fixture
def deprecated():
    """Return the result of a call that must warn once, at the line of the test."""

    def deprecated(message, function):
        with pytest.warns(DeprecationWarning, match=message) as caught:
            result = function()
        assert [warning.filename for warning in caught] == [__file__]
        return result

    return deprecated


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("millpond.nn", "Run", "EqualLengthGroup"),
        ("millpond.nn.batch", "Run", "EqualLengthGroup"),
        ("millpond.nn.attention", "HIDDEN_TOKENS", "MASKED_TOKENS"),
        ("millpond.nn.classifier", "Calibrated", "LogitScaling"),
        ("millpond.nn.ops", "Verdict", "KernelMatch"),
        ("millpond.nn.weight_loading", "Placement", "LoadedWeights"),
        ("millpond.nn.weight_loading", "place_weight", "load_parameter"),
        ("millpond.types.late_interaction", "Side", "QueryDocumentConfig"),
        ("millpond.testing.checkpoints", "write_sparse_code", "write_sparse_autoencoder"),
    ],
)
def test_contents_of_modules(deprecated, module, old, new):
    contents = importlib.import_module(module)
    assert deprecated(f"{old} was renamed: import {new}", lambda: getattr(contents, old)) is getattr(contents, new)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = contents.no_such_name


@pytest.mark.parametrize("name", ["Conversation", "Prompt", "parse_prompt"])
def test_contents_that_moved_to_another_module(deprecated, name):
    message = f"millpond.types.prompts.{name} was renamed: import millpond_io.prompts.{name}"
    assert deprecated(message, lambda: getattr(prompts, name)) is getattr(millpond_io.prompts, name)


def test_fields_of_records(deprecated):
    kernel = deprecated(
        "KernelSpec: the argument serves was renamed: pass features",
        lambda: KernelSpec(name="attention.mine", target="mine:attention", serves=("softcap",)),
    )
    assert kernel.features == deprecated("KernelSpec.serves was renamed", lambda: kernel.serves) == ("softcap",)
    text = deprecated(
        "TextFacts: the argument tokenizer_binds was renamed: pass tokenizer_limits_length",
        lambda: TextFacts(tokenizer_binds=Choice(value=True, origin="modules.json")),
    )
    old = deprecated("TextFacts.tokenizer_binds was renamed", lambda: text.tokenizer_binds)
    assert text.tokenizer_limits_length == old == Choice(value=True, origin="modules.json")
    task = deprecated(
        "made_of was renamed", lambda: TaskSpec(name="a", target="a:A", io_processor="embed", made_of=("embed",))
    )
    assert task.derived_from == ("embed",)
    with pytest.raises(TypeError, match="pass derived_from without made_of, its former name"):
        TaskSpec(name="a", target="a:A", io_processor="embed", made_of=("embed",), derived_from=("embed",))


def test_features_of_kernels(deprecated):
    kernel = deprecated(
        "feature 'hidden_tokens' was renamed: use 'masked_tokens'",
        lambda: KernelSpec(name="attention.mine", target="mine:attention", features=("hidden_tokens",)),
    )
    assert kernel.features == ("masked_tokens",)
    fields = {"device": torch.device("cpu"), "dtype": torch.float32}
    context = deprecated("needs was renamed", lambda: OpContext(**fields, needs=("softcap",)))
    assert context.required_features == ("softcap",)
    assert deprecated("AttentionSpec.needs", lambda: AttentionSpec(scale=1.0, softcap=2.0).needs) == ("softcap",)


def test_cases_of_kernels_that_override_the_former_method():
    class Cases(KernelCases):
        def needs(self, setting):
            return tuple(setting)

    with pytest.warns(DeprecationWarning, match=r"Cases\.needs was renamed: override required_features"):
        assert Cases().required_features({"softcap": 1.0}) == ("softcap",)
    assert KernelCases().required_features({"softcap": 1.0}) == ()


def test_attributes_of_batches(deprecated):
    batch = PackedBatch.pack([torch.zeros(3), torch.zeros(3)])
    groups = deprecated("PackedBatch.runs was renamed", lambda: batch.runs)
    assert groups == batch.equal_length_groups
    assert deprecated("PackedBatch.hidden was renamed", lambda: batch.hidden) == ()
    assert deprecated("EqualLengthGroup.attended was renamed", lambda: groups[0].attended) == 3


def test_arguments_of_functions(deprecated, registry):
    ctx = deprecated("bare_context: the argument deterministic", lambda: bare_context(registry, deterministic=True))
    assert ctx.batch_invariant
    assert callable(deprecated("needs was renamed: pass required_features", lambda: ctx.op("attention", needs=())))
    assert Attention(ctx, head_dim=4).spec.required_features == ()


def test_arguments_and_options_of_models(deprecated, tmp_path):
    folder = str(tiny("BertModel", tmp_path))
    with pytest.raises(InvalidInputError, match="`dedupe` is the former name of `deduplicate`"):
        LLM(folder, dedupe=False, deduplicate=False)
    with deprecated("`dedupe` was renamed: use `deduplicate`", lambda: LLM(folder, dedupe=False)) as llm:
        assert not llm.pipeline.deduplicate
        params = PoolingParams(extra_kwargs={"mixed": "mean"})
        with pytest.warns(DeprecationWarning, match="option 'mixed' was renamed: pass 'mixed_modality'"):
            assert len(llm.embed(["a mill"], pooling_params=params, use_tqdm=False)) == 1


def test_options_of_the_command_line(capsys):
    options = ServeOptions(deterministic=True, mixed="mean")
    arguments = arguments_of(options)
    assert (arguments["batch_invariant"], arguments["mixed_modality"]) == (True, "mean")
    assert {"deterministic", "mixed"}.isdisjoint(arguments)
    assert capsys.readouterr().err.splitlines() == [
        "warning: --mixed was renamed: use --mixed-modality",
        "warning: --deterministic was renamed: use --batch-invariant",
    ]


def test_fields_of_facts_about_retrieval(deprecated):
    facts = deprecated("query_table was renamed: pass static_query_weights", lambda: RetrievalFacts(query_table=None))
    assert deprecated("RetrievalFacts.reads_sides was renamed", lambda: facts.reads_sides) is None
    info = deprecated("query_table was renamed: pass static_query_weights", lambda: RetrievalInfo(query_table=None))
    assert deprecated("RetrievalInfo.tells_sides was renamed", lambda: info.tells_sides) is False
    assert info.has_input_types is False
