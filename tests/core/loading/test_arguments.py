"""Arguments of LLM that are unknown, have no effect, or have former names; and converters."""

import asyncio
import logging

import numpy as np
import pytest

from millpond import LLM, AsyncLLM, CheckpointError, InvalidInputError, PoolingParams, UnknownNameError
from millpond.loading.arguments import read_arguments
from millpond.types.errors import ComponentError
from millpond_vllm.kinds import DialectSpec


def test_the_error_for_an_unknown_argument_suggests_close_names(checkpoint):
    with pytest.raises(InvalidInputError, match=r"unexpected argument 'max_modellen': did you mean 'max_model_len'\?"):
        LLM(str(checkpoint), max_modellen=5)
    with pytest.raises(InvalidInputError, match=r"unexpected argument 'zzz'. Available: runner, convert, dtype, "):
        LLM(str(checkpoint), zzz=5)


def test_arguments_of_vllm_without_effect_are_accepted_and_logged(checkpoint, load, expected, caplog, vector):
    caplog.set_level(logging.INFO)
    others = {
        "gpu_memory_utilization": 0.5,
        "enforce_eager": True,
        "seed": 7,
        "tensor_parallel_size": 1,
        "quantization": None,
        "enable_chunked_prefill": False,
        "allowed_local_media_path": "",
        "chat_template": None,
        "enable_prompt_embeds": False,
        "io_processor_plugin": None,
    }
    assert np.array_equal(vector(load(checkpoint, **others)), expected)
    (message,) = [line.getMessage() for line in caplog.records if "vLLM arguments" in line.getMessage()]
    assert message == (
        "vLLM arguments without effect: gpu_memory_utilization, enforce_eager, seed, enable_chunked_prefill"
    )


def test_async_llm_also_reports_an_accepted_argument_once(checkpoint, caplog):
    caplog.set_level(logging.INFO)
    llm = AsyncLLM(str(checkpoint), num_workers=1, swap_space=4, kernel_config={})
    asyncio.run(llm.close())
    assert caplog.text.count("vLLM arguments without effect: swap_space, kernel_config") == 1
    with pytest.raises(InvalidInputError, match="enable_sleep_mode=True is not supported"):
        AsyncLLM(str(checkpoint), enable_sleep_mode=True)


def test_a_limit_of_vllm_has_its_name_here():
    assert read_arguments({"max_num_queued_tokens": 77}).engine.max_waiting_tokens == 77
    assert read_arguments({"max_num_queued_tokens": 77, "max_waiting_tokens": 5}).engine.max_waiting_tokens == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tensor_parallel_size": 2}, "tensor_parallel_size=2 is not supported: only 1 is"),
        ({"pipeline_parallel_size": 4}, "pipeline_parallel_size=4 is not supported"),
        ({"quantization": "awq"}, "Unknown quantization='awq'. Available: bfloat16, int8"),
        ({"enable_lora": True}, "enable_lora=True is not supported: only False is: merge the adapter into"),
        ({"speculative_config": {"method": "ngram"}}, "is not supported: .*generate no tokens"),
        ({"worker_cls": "my.Worker"}, "worker_cls='my.Worker' is not supported"),
        ({"load_format": "dummy"}, "load_format='dummy' is not supported: weights are read from"),
        ({"tokenizer_revision": "x"}, "tokenizer_revision='x' is not supported: .* pass `revision`"),
        ({"rope_theta": 1e6}, "rope_theta=1000000.0 is not supported: pass `hf_overrides`"),
        ({"device_ids": [0, 1]}, "name them with `devices`"),
        ({"gpu_memory_utilisation": 0.5}, r"did you mean 'gpu_memory_utilization'\?"),
        ({"uvicorn_log_level": "info"}, "unexpected argument 'uvicorn_log_level'"),
        ({"enable_prompt_embeds": True}, "enable_prompt_embeds=True is not supported"),
        ({"tokenizer": "another/model"}, "tokenizer='another/model': a tokenizer of another model is not supported"),
        ({"runner": "generate"}, r"only supported for pooling models\. Try passing `--runner pooling`"),
        ({"runner": "pool"}, "runner='pool': expected one of auto, pooling, generate, draft"),
        ({"device": "cuda:99"}, "device='cuda:99' cannot be used"),
        ({"device": "toaster"}, "device='toaster' cannot be used"),
        ({"kernels": "sdpa"}, r"kernels must be a dict such as \{'attention': 'sdpa'\}; got 'sdpa'"),
        ({"kernels": {"attention": 5}}, "kernels must be a dict"),
        ({"attention_backend": 5}, "kernels must be a dict"),
        ({"max_num_seqs": 0}, "max_num_seqs=0: .*greater than or equal to 1"),
        ({"max_num_batched_tokens": -1}, "max_num_batched_tokens=-1"),
        ({"num_workers": 0}, "num_workers=0"),
        ({"num_workers": "many"}, "num_workers='many'"),
        ({"allowed_local_media_path": "/no/such"}, "allowed_local_media_path='/no/such': must be a folder that exists"),
        ({"allowed_local_media_path": __file__}, "must be a folder that exists"),
        ({"allowed_media_domains": "https://example.org"}, "names of hosts, such as .*; got 'https://example.org'"),
        ({"allowed_media_domains": ["a.org", "b.org:80"]}, r"or \* for any; got 'b.org:80'"),
    ],
    ids=str,
)
def test_an_argument_that_does_not_fit_is_refused(checkpoint, arguments, message):
    with pytest.raises(InvalidInputError, match=message) as caught:
        LLM(str(checkpoint), **arguments)
    assert isinstance(caught.value, ValueError)


def test_an_unknown_converter_is_refused(checkpoint):
    with pytest.raises(UnknownNameError, match=r"Unknown converter 'nope'\. Available: .*classify.*embed"):
        LLM(str(checkpoint), convert="nope")


@pytest.mark.parametrize("arguments", [{"convert": "embed"}, {"convert": "none"}, {"runner": "pooling"}], ids=str)
def test_a_native_model_needs_no_conversion(checkpoint, load, expected, arguments, vector):
    assert np.array_equal(vector(load(checkpoint, **arguments)), expected)


def test_the_models_own_name_may_be_that_of_its_tokenizer(checkpoint, load, expected, vector):
    assert np.array_equal(vector(load(checkpoint, tokenizer=str(checkpoint))), expected)
    assert np.array_equal(vector(load(checkpoint, tokenizer=None)), expected)


@pytest.mark.parametrize(
    "arguments",
    [
        {"task": "embed"},
        {"task": "reward"},
        {"task": "embed", "override_pooler_config": {"pooling_type": "CLS"}},
        {"convert": "reward"},
        {"override_pooler_config": {"pooling_type": "CLS"}},
        {"pooler_config": {"pooling_type": "CLS", "normalize": True}},
    ],
    ids=str,
)
def test_older_arguments_of_vllm_are_accepted(checkpoint, arguments, expected, prompt):
    with LLM(str(checkpoint), num_workers=1, **arguments) as llm:
        params = PoolingParams(task="embed")  # a reward model embeds with token vectors by default
        assert np.array_equal(llm.embed(prompt, pooling_params=params)[0].outputs.array, expected)


def test_the_old_task_auto_means_nothing(checkpoint, load, expected, vector):
    assert np.array_equal(vector(load(checkpoint, task="auto")), expected)


@pytest.mark.parametrize("task", ["classify", "score"])
def test_an_old_task_that_needs_a_converter_asks_for_it(checkpoint, task):
    with pytest.raises(CheckpointError, match=r"'BertModel' was requested as a classifier .*score\.weight"):
        LLM(str(checkpoint), task=task)


def test_an_unknown_old_task_is_refused(checkpoint):
    with pytest.raises(
        InvalidInputError, match=r"Unknown task='embedding'\. Available: auto, embed, classify, score, reward"
    ):
        LLM(str(checkpoint), task="embedding")


class Shortened:
    """Arguments of a library that abbreviates one of Millpond's."""

    @staticmethod
    def translate(arguments):
        return {{"len": "max_model_len"}.get(name, name): value for name, value in arguments.items() if name != "odd"}

    @staticmethod
    def names():
        return ["len", "odd"]


def test_a_plugin_translates_the_arguments_of_another_library(plugin_manager):
    plugin_manager.register(DialectSpec(name="short", target=Shortened))
    assert read_arguments({"len": 7, "odd": 1, "seed": 3}, plugin_manager.registry).load.max_model_len == 7
    with pytest.raises(InvalidInputError, match=r"unexpected argument 'odb': did you mean 'odd'\?"):
        read_arguments({"odb": 7}, plugin_manager.registry)


def test_an_argument_that_a_plugin_fails_on_names_the_plugin(plugin_manager):
    broken = type("Broken", (Shortened,), {"translate": staticmethod(lambda arguments: arguments["len"])})
    plugin_manager.register(DialectSpec(name="broken", target=broken))
    with pytest.raises(ComponentError, match="dialect 'broken' of plugin runtime failed to read arguments: KeyError"):
        read_arguments({"odd": 7}, plugin_manager.registry)
