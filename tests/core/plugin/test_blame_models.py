"""A model that fails or breaks its contract is reported with plugin, kind and name."""

import pytest
from blame_kit import errors_of, fails, load

from millpond import PluginError
from millpond.plugin.specs import (
    ArchitectureSpec,
    ConverterSpec,
    ExecutorSpec,
    FallbackSpec,
    PoolerSpec,
    PoolingDefaults,
)
from millpond.testing.checkpoints import tiny
from millpond.types.errors import CheckpointError, ComponentError, UnknownNameError
from millpond_models.encoders.bert.model import BertModel


def model(change):
    """A BERT whose hidden states become what a function makes of them."""

    class Changed(BertModel):
        def forward(self, batch):
            return change(super().forward(batch))

    return Changed


WRONG_MODELS = {
    "raises": (fails, "failed on this request: RuntimeError: no licence"),
    "returns a tuple": (lambda rows: (rows,), "forward returned a tuple of 1; expected a tensor [1, hidden]"),
    "returns None": (lambda rows: None, "forward returned None; expected a tensor [1, hidden]"),
    "returns batches": (lambda rows: rows[None], "forward returned a tensor [1, 1, 32]; expected a tensor [1, hidden]"),
    "returns integers": (lambda rows: rows.int(), "a tensor [1, 32] of torch.int32 on cpu; expected floating-point"),
    "is on another device": (lambda rows: rows.to("meta"), "torch.float32 on meta; expected floating-point numbers on"),
    "drops rows": (lambda rows: rows[1:], "forward returned a tensor [0, 32]; expected a tensor [1, hidden]"),
    "is too narrow": (lambda rows: rows[:, :12], "its result is an array [12]; expected [32]"),
}


def architecture(target):
    return ArchitectureSpec(
        name="BertModel", target=target, tasks=("embed", "token_embed"), pooling=PoolingDefaults("MEAN")
    )


@pytest.mark.parametrize("fault", WRONG_MODELS)
def test_the_error_of_a_failing_model_names_it_and_what_was_expected(folder, manager, fault):
    change, message = WRONG_MODELS[fault]
    with load(folder, manager, architecture(model(change))) as llm:
        (error,) = errors_of(llm, [[7]])
    assert error.startswith("prompt 0: architecture 'BertModel' of plugin acme ")
    assert message in error


class Raises:
    def __init__(self, ctx):
        raise KeyError("licence")


class RaisingModel(BertModel):
    def __init__(self, ctx):
        super().__init__(ctx)
        raise KeyError("licence")


BROKEN_BUILDS = {
    "an architecture": (architecture(RaisingModel), {}, "architecture 'BertModel'", "target(ctx): KeyError: 'licence'"),
    "a pooler": (
        PoolerSpec(name="ODD", target=Raises, tasks=("embed",)),
        {"pooler_config": {"seq_pooling_type": "ODD"}},
        "pooler 'ODD'",
        "target(ctx): KeyError: 'licence'",
    ),
    "a class without ctx": (
        PoolerSpec(name="ODD", target=object, tasks=("embed",)),
        {"pooler_config": {"seq_pooling_type": "ODD"}},
        "pooler 'ODD'",
        "target(ctx): TypeError: object() takes no arguments",
    ),
    "no class": (
        architecture(lambda ctx: None),
        {},
        "architecture 'BertModel'",
        "returned None; expected a millpond.nn",
    ),
    "a converter": (
        ConverterSpec(name="odd", target=lambda cls, ctx: fails(), architectures=("Bert*",), tasks=("embed",)),
        {"convert": "odd"},
        "converter 'odd'",
        "RuntimeError: no licence",
    ),
    "weights of nothing": (
        architecture(type("Model", (BertModel,), {"load_weights": lambda self, weights: None})),
        {},
        "architecture 'BertModel'",
        "load_weights returned None; expected a LoadedWeights",
    ),
    "an executor of nothing": (
        ExecutorSpec(name="odd", target=lambda setup: None),
        {"data_parallel_size": 2, "data_parallel_backend": "odd"},
        "executor 'odd'",
        "it returned None; expected an Executor",
    ),
    "a converter of nothing": (
        ConverterSpec(name="odd", target=lambda cls, ctx: None, architectures=("Bert*",), tasks=("embed",)),
        {"convert": "odd"},
        "converter 'odd'",
        "returned None; expected a subclass of millpond.nn.PoolingModel",
    ),
}


@pytest.mark.parametrize("fault", BROKEN_BUILDS)
def test_the_error_for_a_failed_build_names_the_component_not_config_json(folder, manager, fault):
    record, more, label, message = BROKEN_BUILDS[fault]
    with pytest.raises(PluginError) as caught:
        load(folder, manager, record, **more)
    assert f"{label} of plugin acme" in str(caught.value)
    assert message in str(caught.value)
    assert "config.json" not in str(caught.value)
    assert not isinstance(caught.value, CheckpointError)


def test_a_model_without_a_pooler_for_its_task_is_named(folder, manager):
    class Bare(BertModel):
        def __init__(self, ctx):
            super().__init__(ctx)
            del self.poolers["embed"]

    with pytest.raises(PluginError, match=r"'BertModel' of plugin acme .*no pooler for embed; it has token"):
        load(folder, manager, architecture(Bare))


@pytest.mark.parametrize("target", [None, "millpond.plugin.manager:nothing"])
def test_a_target_of_none_is_named(folder, manager, monkeypatch, target):
    import millpond.plugin.manager

    monkeypatch.setattr(millpond.plugin.manager, "nothing", None, raising=False)
    record = PoolerSpec(name="ODD", target=target, tasks=("embed",))
    with pytest.raises(UnknownNameError, match=r"pooler 'ODD' of plugin acme cannot be loaded: its target .* is None"):
        load(folder, manager, record, pooler_config={"seq_pooling_type": "ODD"})


def test_a_fallback_that_fails_is_named(tmp_path, manager):
    folder = tiny("BertModel", tmp_path / "odd", architectures=["OddModel"])
    record = FallbackSpec(name="anything", target=fails, patterns=("Odd*",), implementation="odd")
    with pytest.raises(ComponentError, match="fallback 'anything' of plugin acme failed on 'OddModel': RuntimeError"):
        load(str(folder), manager, record)
