"""A pooler, activation or kernel that fails or breaks its contract is reported with plugin, kind and name."""

import numpy as np
import pytest
import torch
from blame_kit import PROMPTS, errors_of, fails, load, pooler
from torch import nn

from millpond import PluginError
from millpond.nn import Pooler
from millpond.plugin.specs import (
    ActivationSpec,
    KernelSpec,
    PoolerSpec,
)
from millpond.testing.checkpoints import tiny
from millpond.types.errors import ComponentError, EngineError
from millpond_poolers.methods import MeanPooling


def padded(rows, lengths):
    return nn.utils.rnn.pad_sequence(rows.split(list(lengths)), batch_first=True)


def means(rows, lengths):
    return torch.stack([part.mean(0) for part in rows.split(list(lengths))])


def fails_without_text(*_):
    class OddError(Exception):
        def __str__(self):
            raise RuntimeError

    raise OddError


# --- poolers ----------------------------------------------------------------------------------------------------------


WRONG_POOLERS = {
    "raises": (fails, "embed", "failed on this request: RuntimeError: no licence"),
    "returns None": (lambda *_: None, "embed", "pool returned None; expected a tensor [1, hidden]"),
    "returns a tuple of arrays": (
        lambda rows, lengths: (np.zeros((1, 32)),),
        "embed",
        "pool returned a list with an array [1, 32]; expected a tensor [1, hidden]",
    ),
    "pads": (padded, "embed", "pool returned a tensor [1, 1, 32]; expected a tensor [1, hidden]"),
    "pads tokens": (padded, "token_embed", "pool returned a tensor [1, 1, 32]; expected a tensor [1, hidden]"),
    "flattens": (lambda rows, lengths: rows[:1].flatten(), "embed", "pool returned a tensor [32]; expected a tensor"),
    "returns one row too many": (
        lambda rows, lengths: torch.zeros(len(lengths) + 1, 32),
        "embed",
        "pool returned a tensor [2, 32]; expected a tensor [1, hidden]",
    ),
    "returns integers": (
        lambda rows, lengths: means(rows, lengths).int(),
        "embed",
        "pool returned a tensor [1, 32] of torch.int32; expected floating-point numbers",
    ),
    "returns complex numbers": (
        lambda rows, lengths: means(rows, lengths).to(torch.complex64),
        "embed",
        "pool returned a tensor [1, 32] of torch.complex64; expected floating-point numbers",
    ),
    "returns tensors of another device": (
        lambda rows, lengths: means(rows, lengths).to("meta"),
        "embed",
        "it returned a tensor [1, 32] of torch.float32 on meta; expected floating-point numbers on cpu",
    ),
    "raises an error whose text cannot be read": (
        fails_without_text,
        "embed",
        "failed on this request: OddError: its text cannot be read (RuntimeError)",
    ),
    "is too narrow": (
        lambda rows, lengths: means(rows, lengths)[:, :12],
        "embed",
        "for the task 'embed' its result is an array [12]; expected [32], the size that the model declares",
    ),
    "is too wide": (
        lambda rows, lengths: means(rows, lengths).repeat(1, 2),
        "embed",
        "for the task 'embed' its result is an array [64]; expected [32]",
    ),
    "returns more rows than tokens": (
        lambda rows, lengths: [part.repeat(2, 1) for part in rows.split(list(lengths))],
        "token_embed",
        "its result for 1 tokens is an array [2, 32]; expected [1, dim], or fewer rows",
    ),
}


class Weighted(MeanPooling):
    """A pooler with a buffer that its constructor computes."""

    def __init__(self, ctx):
        super().__init__(ctx)
        self.register_buffer("factors", torch.arange(32.0))


def test_a_buffer_without_values_is_refused_when_the_model_is_loaded(folder, manager):
    record = PoolerSpec(name="ODD", target=Weighted, tasks=("embed",))
    with pytest.raises(ComponentError, match=r"pooler 'ODD' of plugin acme .* 'poolers\.embed\.factors' has no values"):
        load(folder, manager, record, pooler_config={"seq_pooling_type": "ODD"})


@pytest.mark.parametrize("fault", WRONG_POOLERS)
def test_the_error_of_a_failing_pooler_names_it_and_what_was_expected(folder, manager, fault):
    give, task, message = WRONG_POOLERS[fault]
    record = PoolerSpec(name="ODD", target=pooler(give), tasks=("embed", "token_embed"))
    key = "tok_pooling_type" if task == "token_embed" else "seq_pooling_type"
    with load(folder, manager, record, pooler_config={key: "ODD"}) as llm:
        first, second = errors_of(llm, task=task)
        assert "pooler 'ODD' of plugin acme" in first
        assert first.startswith("prompt 0: ")
        assert message in first
        assert second.startswith("prompt 1: pooler 'ODD' of plugin acme")
        with pytest.raises(ComponentError) as caught:
            llm.encode([PROMPTS[0]], pooling_task=task, use_tqdm=False)
    assert (caught.value.plugin, caught.value.kind, caught.value.name) == ("acme", "pooler", "ODD")
    assert isinstance(caught.value, EngineError | PluginError)


def test_a_pooler_that_forwards_by_itself_is_checked_too(folder, manager):
    class Alone(Pooler):
        def forward(self, hidden_states, metadata):
            return padded(hidden_states, metadata.lengths)

    record = PoolerSpec(name="ODD", target=Alone, tasks=("token_embed",))
    with load(folder, manager, record, pooler_config={"tok_pooling_type": "ODD"}) as llm:
        for error in errors_of(llm, task="token_embed"):
            assert "pooler 'ODD' of plugin acme broke its contract: it returned a tensor [" in error
            assert "expected a list of" in error


def test_results_of_built_in_poolers_are_checked_like_others(folder, manager, monkeypatch):
    monkeypatch.setattr(MeanPooling, "pool", lambda _, rows, metadata: means(rows, metadata.lengths)[:, :12])
    with load(folder, manager, pooler_config={"seq_pooling_type": "MEAN"}) as llm:
        for error in errors_of(llm):
            assert "pooler 'MEAN' of plugin poolers" in error
            assert "its result is an array [12]; expected [32], the size that the model declares" in error


def test_results_are_kept_from_a_pooler_that_uses_its_memory_again(folder, manager):
    memory = torch.zeros(1, 32)

    def give(rows, lengths):
        return memory.copy_(means(rows, lengths))

    record = PoolerSpec(name="ODD", target=pooler(give), tasks=("embed",), activation="identity")
    with load(folder, manager, record, pooler_config={"seq_pooling_type": "ODD"}) as llm:
        first, second = (llm.encode([ids], pooling_task="embed", use_tqdm=False)[0] for ids in PROMPTS)
        again = llm.encode([PROMPTS[0]], pooling_task="embed", use_tqdm=False)[0]
    assert first.outputs.data.tolist() == again.outputs.data.tolist() != second.outputs.data.tolist()


def test_results_are_kept_from_an_activation_that_uses_its_memory_again(folder, manager):
    memory = torch.zeros(1, 32)
    record = ActivationSpec(name="normalize", target=memory.copy_)
    with load(folder, manager, record) as llm:
        first, second = (llm.encode([ids], pooling_task="embed", use_tqdm=False)[0] for ids in PROMPTS)
    assert first.outputs.data.tolist() != second.outputs.data.tolist()


def test_a_pooler_that_fails_on_one_prompt_leaves_the_others_unharmed(folder, manager):
    def give(rows, lengths):
        if 3 in lengths:
            raise ValueError("three")
        return means(rows, lengths)

    with load(folder, manager, PoolerSpec(name="ODD", target=pooler(give), tasks=("embed",))) as llm:
        pass
    with load(folder, manager, pooler_config={"seq_pooling_type": "ODD"}) as llm:
        errors = errors_of(llm, [[5], [5, 6, 7], [5, 6], [5, 6, 7, 8]])
    assert [error is None for error in errors] == [True, False, True, True]
    assert errors[1] == "prompt 1: pooler 'ODD' of plugin acme failed on this request: ValueError: three"


def test_the_error_names_a_pooler_whose_rows_are_too_narrow_for_the_head(tmp_path, manager):
    from millpond.testing.checkpoints import DenseLayer, write_sentence_transformers

    folder = tiny("BertModel", tmp_path / "dense")
    write_sentence_transformers(folder, pooling="mean", dense=[DenseLayer(in_features=32, out_features=16)])
    record = PoolerSpec(name="ODD", target=pooler(lambda rows, lengths: means(rows, lengths)[:, :12]), tasks=("embed",))
    with load(str(folder), manager, record, pooler_config={"seq_pooling_type": "ODD"}) as llm:
        (error,) = errors_of(llm, [[7]])
    assert "pool returned a tensor [1, 12], but the head expects rows of 32 values" in error


def test_one_of_several_joined_poolers_is_named(folder, manager):
    record = PoolerSpec(name="ODD", target=pooler(fails), tasks=("embed",))
    with load(folder, manager, record, pooler_config={"seq_pooling_type": "CLS+ODD"}) as llm:
        (error,) = errors_of(llm, [[7]])
    assert error == "prompt 0: pooler 'ODD' of plugin acme failed on this request: RuntimeError: no licence"


# --- activations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (fails, "failed on this request: RuntimeError: no licence"),
        (lambda x: x.sum(-1), "it returned a tensor [1]; expected a tensor [1, 32], the shape of its input"),
        (lambda x: x > 0, "it returned a tensor [1, 32] of torch.bool on cpu; expected floating-point numbers on cpu"),
        (lambda x: None, "it returned None; expected a tensor [1, 32], the shape of its input"),
        (lambda x: (x,), "it returned a tuple of 1; expected a tensor [1, 32], the shape of its input"),
    ],
)
def test_an_activation_that_fails_is_named(folder, manager, function, message):
    with load(folder, manager, ActivationSpec(name="normalize", target=function)) as llm:
        (error,) = errors_of(llm, [[7]])
    assert error.startswith("prompt 0: activation 'normalize' of plugin acme")
    assert error.endswith(message)


def test_a_kernel_that_fails_is_named_and_not_the_model(folder, manager):
    with load(folder, manager, KernelSpec(name="attention.odd", target=fails, priority=999)) as llm:
        (error,) = errors_of(llm, [[7]])
    assert error == "prompt 0: kernel 'attention.odd' of plugin acme failed on this request: RuntimeError: no licence"


def test_a_kernel_that_returns_no_tensor_is_named_and_not_the_model(folder, manager):
    with load(folder, manager, KernelSpec(name="attention.odd", target=lambda *_, **__: (1, 2), priority=999)) as llm:
        (error,) = errors_of(llm, [[7]])
    expected = "broke its contract: it returned a tuple of 2; expected one tensor"
    assert error == f"prompt 0: kernel 'attention.odd' of plugin acme {expected}"
