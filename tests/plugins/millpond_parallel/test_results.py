"""Two engine processes return what one engine returns: results, their order, and errors."""

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from millpond import LLM
from millpond.plugin.specs import PoolerSpec
from millpond.testing.checkpoints import tiny
from millpond.testing.comparisons import random_prompts
from millpond.types.errors import CheckpointError, EngineError, InvalidInputError, UnknownNameError
from millpond_poolers.methods import MeanPooling


def test_results_are_those_of_one_engine_in_order(pair, single, texts, executor):
    """One test for several calls, because starting engine processes takes seconds."""
    expected = single.embed(texts, output="array", use_tqdm=False)
    np.testing.assert_array_equal(pair.embed(texts, output="array", use_tqdm=False), expected)
    rows = [output.outputs.data for output in pair.encode(texts[:20], pooling_task="token_embed", use_tqdm=False)]
    for row, output in zip(rows, single.encode(texts[:20], pooling_task="token_embed", use_tqdm=False), strict=True):
        np.testing.assert_array_equal(row, output.outputs.data)
    first, second = executor(pair).statuses()
    assert first.batches > 0
    assert second.batches > 0
    assert first.queued_tokens == second.queued_tokens == 0
    too_long = "cat " * 5000
    with pytest.raises(InvalidInputError) as error:
        pair.embed(["a", too_long])
    with pytest.raises(InvalidInputError) as expected_error:
        single.embed(["a", too_long])
    assert str(error.value) == str(expected_error.value)


def image(number):
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (40, 30, 3), dtype=np.uint8))


def call(llm, task, texts):
    """Return the results of a task as arrays."""
    if task == "score":
        return np.array([output.outputs.score for output in llm.score("a cat", texts, use_tqdm=False)])
    if task == "embed_sparse":
        return [(output.outputs.indices.tolist(), output.outputs.values.tolist()) for output in llm.embed_sparse(texts)]
    if task == "classify":
        return np.array([output.outputs.probs for output in llm.classify(texts, use_tqdm=False)])
    prompts = [{"prompt": "", "multi_modal_data": {"image": image(number)}} for number in range(5)]
    short = [text[:12] for text in texts]
    return llm.embed([*prompts, *short], output="array", use_tqdm=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "options", "task"),
    [
        ("BertForSequenceClassification", {"num_labels": 3}, "classify"),
        ("BertForSequenceClassification", {"num_labels": 1}, "score"),
        ("BertForMaskedLM", {}, "embed_sparse"),
        ("CLIPModel", {}, "image"),
    ],
)
def test_every_task_returns_the_results_of_one_engine(architecture, options, task, tmp_path, texts):
    folder = str(tiny(architecture, tmp_path / "model", **options))
    settings = {
        "batch_invariant": True,
        "pooler_config": {"pooling_type": "SPLADE_MAX"} if task == "embed_sparse" else None,
    }
    with LLM(folder, num_workers=1, **settings) as single, LLM(folder, data_parallel_size=2, **settings) as pair:
        expected, results = call(single, task, texts[:50]), call(pair, task, texts[:50])
    assert np.array_equal(results, expected) if isinstance(results, np.ndarray) else results == expected


PLUGIN = """
from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import PoolerSpec

@hookimpl
def register_poolers():
    yield PoolerSpec(name="FAILS", target=f"{__name__}:Fails", tasks=("embed",), summary="fails on 4 tokens")

def __getattr__(name):
    if name != "Fails":
        raise AttributeError(name)
    from millpond_poolers.methods import MeanPooling

    class Fails(MeanPooling):
        def forward(self, hidden, metadata):
            if 4 in metadata.lengths:
                raise ZeroDivisionError("four tokens")
            return super().forward(hidden, metadata)

    return Fails
"""


@pytest.mark.slow
def test_a_failing_input_fails_alone_with_the_same_error(install_plugin, bert):
    from millpond.plugin.manager import PluginManager

    install_plugin(PLUGIN, "fails")
    prompts = [{"prompt_token_ids": [5] * length} for length in (3, 4, 5, 6)]
    outputs = {}
    for size in (1, 2):
        settings = {"pooler_config": {"pooling_type": "FAILS"}, "plugins": PluginManager()}
        with LLM(bert, data_parallel_size=size, num_workers=1, **settings) as llm:
            outputs[size] = llm.embed(prompts, on_error="return", use_tqdm=False)
    assert [output.error is None for output in outputs[2]] == [True, False, True, True]
    error, expected = outputs[2][1].error, outputs[1][1].error
    assert (type(error), str(error)) == (type(expected), str(expected))
    assert isinstance(error, EngineError)
    assert error.plugin == "fails"
    assert isinstance(error.__cause__, ZeroDivisionError)


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_is_the_error_of_one_engine(tmp_path):
    folder = tiny("BertModel", tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    tensors.pop(min(tensors))
    save_file(tensors, folder / "model.safetensors")
    messages = set()
    for size in (1, 2):
        with pytest.raises(CheckpointError) as error:
            LLM(str(folder), data_parallel_size=size)
        messages.add(str(error.value))
    assert len(messages) == 1


@pytest.mark.slow
def test_a_missing_device_is_named(bert):
    with pytest.raises(InvalidInputError, match="device='cuda:77' cannot be used"):
        LLM(bert, devices=["cpu", "cuda:77"])


def test_components_of_the_program_are_refused(bert, plugin_manager):
    plugin_manager.register(PoolerSpec(name="MINE", target=MeanPooling, tasks=("embed",)))
    with pytest.raises(InvalidInputError, match=r"pooler 'MINE' .*registered at run time.* install that"):
        LLM(bert, data_parallel_size=2, pooler_config={"pooling_type": "MINE"}, plugins=plugin_manager)


def test_a_function_for_the_config_is_refused(bert):
    with pytest.raises(InvalidInputError, match="hf_overrides is a function"):
        LLM(bert, data_parallel_size=2, hf_overrides=lambda config: {})


def test_an_unknown_executor_is_refused(bert):
    with pytest.raises(UnknownNameError, match=r"Unknown executor 'ray'.*Available: cuda, mp"):
        LLM(bert, data_parallel_size=2, data_parallel_backend="ray")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data_parallel_size": 0}, "expected a positive integer"),
        ({"data_parallel_size": 3, "devices": "cpu,cpu"}, "devices names 2"),
        ({"devices": "cpu,", "data_parallel_size": 2}, "expected names such as"),
        ({"devices": [], "data_parallel_size": 2}, "expected names such as"),
        ({"devices": "cpu,cpu", "device": "cpu"}, "pass one of them"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(bert, arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        LLM(bert, **arguments)


def test_one_device_needs_no_engine_process(bert, executor):
    with LLM(bert, devices="cpu", num_workers=1) as llm:
        assert executor(llm).statuses() == ()
        assert llm.embed("a", output="array").shape[0] == 1


@pytest.mark.slow
def test_engine_processes_share_the_beginning_of_the_prompts_of_a_call(tmp_path):
    """Later batches of a call reuse the keys and values that an engine process computed for an earlier one."""
    folder = str(tiny("Qwen3Model", tmp_path / "model"))
    head, *tails = random_prompts(90, (25, *range(1, 31)))
    prompts = [[*head, *tail] for tail in tails]
    vectors, shared = {}, {}
    for size, enabled in ((1, False), (2, True)):
        settings = {"enable_prefix_caching": enabled, "max_num_batched_tokens": 60, "num_workers": 1}
        with LLM(folder, data_parallel_size=size, **settings) as llm:
            vectors[size] = llm.embed(prompts, output="array", use_tqdm=False)
            shared[size] = llm._engine.stats.shared_tokens  # noqa: SLF001  no public attribute has it
    np.testing.assert_allclose(vectors[2], vectors[1], atol=1e-5, rtol=0)
    assert shared[1] == 0
    assert shared[2] >= (len(prompts) - 2) * len(head)
