"""A component that fails, or breaks its contract, is reported with plugin, kind and name; the others are unharmed."""

import asyncio

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from millpond import LLM, AsyncLLM, IOProcessor, PluginError, PoolingParams
from millpond.nn import Pooler
from millpond.plugin.manager import PluginManager
from millpond.plugin.specs import (
    ActivationSpec,
    ArchitectureSpec,
    ConverterSpec,
    FallbackSpec,
    IOProcessorSpec,
    KernelSpec,
    PoolerSpec,
    PoolingDefaults,
    SourceSpec,
)
from millpond.testing.checkpoints import tiny
from millpond.types.errors import CheckpointError, ComponentError, EngineError, ModelNotFoundError, UnknownNameError
from millpond_command import cli
from millpond_models.encoders.bert.model import BertModel

PROMPTS = [[7], [7, 8, 9]]  # the first is a batch of one token where it is computed alone


class Fixed(Pooler):
    """Returns what ``give`` makes of the hidden states and the lengths."""

    @staticmethod
    def give(rows, lengths):
        raise NotImplementedError

    def pool(self, hidden_states, metadata):
        return self.give(hidden_states, metadata.lengths)


def pooler(give):
    """A pooler that returns what a function makes of the hidden states and the lengths."""
    return type("Given", (Fixed,), {"give": staticmethod(give)})


def model(change):
    """A BERT whose hidden states become what a function makes of them."""

    class Changed(BertModel):
        def forward(self, batch):
            return change(super().forward(batch))

    return Changed


def fails(*_, **options):
    raise RuntimeError("no licence")


def padded(rows, lengths):
    return nn.utils.rnn.pad_sequence(rows.split(list(lengths)), batch_first=True)


def means(rows, lengths):
    return torch.stack([part.mean(0) for part in rows.split(list(lengths))])


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A tiny BERT."""
    return str(tiny("BertModel", tmp_path_factory.mktemp("blame") / "bert"))


@pytest.fixture
def manager():
    """A manager with nothing but the built-ins; ``take`` adds records of the plugin "acme"."""
    return PluginManager(ranks=("builtin",), disabled=())


def load(folder, manager, *records, **more):
    """The model, with records of the plugin "acme"."""
    for record in records:
        manager.register(record, plugin="acme")
    return LLM(folder, plugins=manager, num_workers=1, **more)


def errors_of(llm, prompts=PROMPTS, task="embed"):
    """The message for each prompt; None for one that is served."""
    outputs = llm.encode(prompts, PoolingParams(), pooling_task=task, on_error="return", use_tqdm=False)
    return [None if output.error is None else str(output.error) for output in outputs]


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


@pytest.mark.parametrize("fault", WRONG_POOLERS)
def test_a_pooler_that_fails_is_named_with_what_was_expected(folder, manager, fault):
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


def test_a_pooler_too_narrow_for_the_head_behind_it_is_named(tmp_path, manager):
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


# --- models -----------------------------------------------------------------------------------------------------------

WRONG_MODELS = {
    "raises": (fails, "failed on this request: RuntimeError: no licence"),
    "returns a tuple": (lambda rows: (rows,), "forward returned a tuple of 1; expected a tensor [1, hidden]"),
    "returns None": (lambda rows: None, "forward returned None; expected a tensor [1, hidden]"),
    "returns batches": (lambda rows: rows[None], "forward returned a tensor [1, 1, 32]; expected a tensor [1, hidden]"),
    "drops rows": (lambda rows: rows[1:], "forward returned a tensor [0, 32]; expected a tensor [1, hidden]"),
    "is too narrow": (lambda rows: rows[:, :12], "its result is an array [12]; expected [32]"),
}


def architecture(target):
    return ArchitectureSpec(
        name="BertModel", target=target, tasks=("embed", "token_embed"), pooling=PoolingDefaults("MEAN")
    )


@pytest.mark.parametrize("fault", WRONG_MODELS)
def test_a_model_that_fails_is_named_with_what_was_expected(folder, manager, fault):
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


class RaisingProcessor(IOProcessor):
    def __init__(self, ctx):
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
    "a converter of nothing": (
        ConverterSpec(name="odd", target=lambda cls, ctx: None, architectures=("Bert*",), tasks=("embed",)),
        {"convert": "odd"},
        "converter 'odd'",
        "returned None; expected a subclass of millpond.nn.PoolingModel",
    ),
}


@pytest.mark.parametrize("fault", BROKEN_BUILDS)
def test_what_cannot_be_built_is_named_and_config_json_is_not_blamed(folder, manager, fault):
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


# --- IO processors and sources ----------------------------------------------------------------------------------------


class ItemsFails(IOProcessor):
    def items(self, prompts):
        raise KeyError("licence")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (RaisingProcessor, "failed in target(ctx): KeyError: 'licence'"),
        (ItemsFails, "failed in items: KeyError: 'licence'"),
        (type("Lazy", (IOProcessor,), {}), "failed in encode: NotImplementedError"),
    ],
)
def test_an_io_processor_that_fails_is_named(folder, manager, target, message):
    record = IOProcessorSpec(name="embed", target=target, tasks=("embed",))
    with load(folder, manager, record) as llm, pytest.raises(ComponentError) as caught:
        llm.embed("a cup of tea", use_tqdm=False)
    assert "IO processor 'embed' of plugin acme" in str(caught.value)
    assert message in str(caught.value)
    assert (caught.value.plugin, caught.value.kind, caught.value.name) == ("acme", "io_processor", "embed")


def test_a_refusal_that_fails_costs_its_own_task_alone(folder, manager):
    class Stubborn(IOProcessor):
        @classmethod
        def refusal(cls, ctx):
            raise KeyError("licence")

    record = IOProcessorSpec(name="embed_chunks", target=Stubborn, tasks=("embed_chunks",))
    with load(folder, manager, record) as llm:
        assert errors_of(llm) == [None, None]
        assert "embed_chunks" not in llm.supported_tasks
        with pytest.raises(ValueError, match="IO processor 'embed_chunks' of plugin acme failed in refusal: KeyError"):
            llm.embed_chunks("a", chunk_tokens=2, use_tqdm=False)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("/no/such/folder", "returned '/no/such/folder', which does not exist"),
        (5, "returned 5, which is an int and not a path"),
        (__file__, f"returned {__file__!r}, which is not a folder"),
    ],
)
def test_a_source_that_returns_no_folder_is_named(manager, caplog, answer, message):
    manager.register(SourceSpec(name="bucket", target=lambda name, options: answer), plugin="acme")
    with pytest.raises(ModelNotFoundError, match=f"bucket: source 'bucket' of plugin acme {message}") as caught:
        LLM("bucket:model", plugins=manager)
    assert "No source is called" not in str(caught.value)
    assert f"source 'bucket' of plugin acme {message}" in caplog.text


# --- other front ends -------------------------------------------------------------------------------------------------


def test_asynchronous_calls_report_the_same(folder, manager):
    manager.register(PoolerSpec(name="ODD", target=pooler(fails), tasks=("embed",)), plugin="acme")

    async def main():
        async with AsyncLLM(folder, plugins=manager, num_workers=1, pooler_config={"seq_pooling_type": "ODD"}) as llm:
            return await llm.embed([[7], [7, 8]], on_error="return")

    for index, output in enumerate(asyncio.run(main())):
        message = f"prompt {index}: pooler 'ODD' of plugin acme failed on this request: RuntimeError: no licence"
        assert str(output.error) == message
        assert type(output.error) is ComponentError


ODD_PLUGIN = """
import typer
from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import CommandSpec, PoolerSpec

app = typer.Typer()

@app.command()
def hello():
    raise KeyError("licence")

def odd(ctx):
    from millpond.nn import Pooler

    class Odd(Pooler):
        def pool(self, hidden_states, metadata):
            raise KeyError("licence")

    return Odd(ctx)

@hookimpl
def register_commands():
    yield CommandSpec(name="hello", target=f"{__name__}:app")

@hookimpl
def register_poolers():
    yield PoolerSpec(name="ODD", target=f"{__name__}:odd", tasks=("embed",))
"""


def test_a_command_that_fails_is_named(install_plugin):
    install_plugin(ODD_PLUGIN, "acme")
    done = CliRunner().invoke(cli.app, ["hello"])
    assert (done.exit_code, done.stdout) == (1, "")
    message = "error: command 'hello' of plugin acme (millpond-acme 1.0) failed: KeyError: 'licence'\n"
    assert done.stderr == f"{message}hint: set MILLPOND_DEBUG=1 to show the traceback\n"


def test_a_built_in_command_names_the_pooler_that_fails(install_plugin, folder):
    install_plugin(ODD_PLUGIN, "acme")
    done = CliRunner().invoke(cli.app, ["embed", "-m", folder, "--pooler-config", '{"pooling_type": "ODD"}', "tea"])
    assert done.exit_code == 1
    assert "pooler 'ODD' of plugin acme (millpond-acme 1.0) failed on this request: KeyError: 'licence'" in done.stderr
