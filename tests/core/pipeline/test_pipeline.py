"""The pipeline: from calls to prompts, requests and outputs, with IO processors of any kind."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond import LLM, AsyncLLM, IOProcessor, PoolingParams
from millpond.engine.request import PoolingRequest, Representation
from millpond.model.spec import MultimodalSettings
from millpond.pipeline.bound_task import BoundTask
from millpond.pipeline.io_processor import Job
from millpond.pipeline.pipeline import windows
from millpond.plugin.specs import IOProcessorSpec
from millpond.types.errors import EngineError, InvalidInputError, NonFiniteOutputError, located
from millpond.types.outputs import EmbeddingOutput

POISON = 0
BERT = "architecture 'BertModel' of plugin runtime"


class Chunks(IOProcessor):
    """Takes lists of token ids, and makes a sequence of each token: the output is the mean of their vectors."""

    def encode(self, call):
        return [self.job(data, call) for data in call.prompts]

    def job(self, data, call):
        if not isinstance(data, list):
            return Job(error=InvalidInputError("a list was wanted"))
        if data[:1] == [99]:
            return Job(error=InvalidInputError("99 cannot be served"))
        wanted = (Representation("embed", call.params),)
        return Job(
            sequences=tuple(
                PoolingRequest(input_ids=np.array([number]), representations=wanted, num_dropped_tokens=1)
                for number in data
            )
        )

    def decode(self, job):
        if any(sequence.input_ids[0] == 98 for sequence in job.sequences):
            raise EngineError("98 cannot be merged")
        vectors = [sequence.results[0] for sequence in job.sequences]
        return EmbeddingOutput(np.mean(vectors, axis=0) if vectors else np.zeros(0))


@pytest.fixture
def chunking(watched):
    """Plugins whose task ``embed`` is served by ``Chunks``."""
    watched.plugins.register(IOProcessorSpec(name="embed", target=Chunks, tasks=("embed",)))
    return watched


@pytest.fixture
def llm(folder, chunking):
    """The tiny BERT, asked by way of ``Chunks``."""
    with LLM(folder, plugins=chunking.plugins, num_workers=2) as llm:
        yield llm


@pytest.fixture
def plain(make_llm):
    """The tiny BERT as it is."""
    return make_llm(1)


def embed(llm, prompts, **named):
    return llm.embed(prompts, use_tqdm=False, **named)


# --- windows ----------------------------------------------------------------------------------------------------------


@given(total=st.integers(0, 10_000), first=st.integers(1, 200), largest=st.integers(200, 2000))
def test_windows_cover_every_index_once_and_grow_to_the_largest(total, first, largest):
    ranges = list(windows(total, first=first, largest=largest))
    assert [index for window in ranges for index in window] == list(range(total))
    sizes = [len(places) for places in ranges]
    assert all(0 < size <= largest for size in sizes)
    assert sizes[:-1] == sorted(sizes[:-1])
    assert not sizes or sizes[0] == min(first, total)


# --- splitting a call -------------------------------------------------------------------------------------------------


def split(llm, prompts, params, task):
    bound = llm.pipeline.task_of(task, params)
    return bound, bound.items(prompts, params)


def test_shared_params_are_completed_once(plain):
    _, items = split(plain, ["a", "b", "c"], PoolingParams(), "embed")
    assert [data for data, _ in items] == ["a", "b", "c"]
    assert len({id(call) for _, call in items}) == 1
    assert items[0][1].params.task == "embed"


def test_params_for_each_prompt_stay_with_it(plain):
    params = [PoolingParams(use_activation=value) for value in (True, False, None)]
    _, items = split(plain, ["a", "b", "c"], params, "embed")
    assert [call.params.use_activation for _, call in items] == [True, False, True]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ([PoolingParams()], r"lengths of prompts \(2\) and params \(1\) must be the same"),
        ([PoolingParams()] * 3, r"lengths of prompts \(2\) and params \(3\) must be the same"),
        ([PoolingParams(), {"dimensions": 3}], "prompt 1: pooling_params must be PoolingParams; got dict"),
        (PoolingParams(task="token_embed"), "cannot overwrite param.task='token_embed' with pooling_task='embed'"),
        ([PoolingParams(), PoolingParams(task="token_embed")], "prompt 1: You cannot overwrite"),
    ],
)
def test_invalid_params_are_refused(plain, params, message):
    with pytest.raises(InvalidInputError, match=message) as caught:
        split(plain, ["a", "b"], params, "embed")
    assert caught.value.parameter in ("pooling_params", "pooling_task")


def test_the_params_name_the_task_if_the_call_does_not(plain):
    task, ((_, call),) = split(plain, "a", PoolingParams(task="token_embed"), None)
    assert task.name == call.params.task == "token_embed"


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (None, "pooling_task required.*This model serves: embed, token_embed"),
        ("classify", "Classification API is not supported by this model.*--convert classify"),
        ("nonsense", r"Unsupported task: 'nonsense' Supported tasks: \('embed', .*'score'\)"),
    ],
)
def test_a_task_that_the_model_does_not_serve_is_refused(plain, task, message):
    with pytest.raises(InvalidInputError, match=f"(?s){message}") as caught:
        split(plain, "a", None, task)
    assert caught.value.parameter == "pooling_task"


def test_a_processor_is_built_once_per_task(plain):
    first, _ = split(plain, "a", None, "embed")
    again, _ = split(plain, "b", None, "embed")
    other, _ = split(plain, "b", None, "token_embed")
    assert first is again
    assert first is not other


def test_threads_that_ask_for_a_processor_at_once_get_the_same(folder, chunking, kit):
    both = threading.Barrier(2, timeout=kit.patience)

    class Slow(Chunks):
        def __init__(self, ctx):
            super().__init__(ctx)
            both.wait()

    chunking.plugins.register(IOProcessorSpec(name="embed", target=Slow, tasks=("embed",)))
    with LLM(folder, plugins=chunking.plugins, num_workers=1) as llm, ThreadPoolExecutor(2) as pool:
        one, other = pool.map(llm.pipeline.processor, ["embed"] * 2)
    assert one is other


def test_a_call_that_its_processor_splits_into_nothing_has_no_outputs(llm, chunking, monkeypatch):
    monkeypatch.setattr(Chunks, "items", lambda self, prompts: [])
    assert embed(llm, "text") == []


def test_an_unknown_value_of_on_error_is_refused(plain):
    with pytest.raises(InvalidInputError, match=r"on_error='skip': expected one of 'raise', 'return'"):
        plain.embed("a", on_error="skip")


def test_an_unknown_option_is_refused_with_a_suggestion(plain):
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'on_eror': did you mean 'on_error'"):
        plain.embed("a", on_eror="raise")
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'zzz': available: truncate_prompt_tokens, "):
        plain.embed("a", zzz=1)
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'dimension': did you mean 'dimensions'"):
        plain.embed("a", dimension=8)
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'instructions': did you mean 'instruction'"):
        plain.score("a", "b", instructions="c")


def test_invalid_parameters_affect_one_prompt_if_errors_are_returned(plain):
    params = [PoolingParams(), PoolingParams(dimensions=7), PoolingParams(task="token_embed"), None]
    with pytest.raises(InvalidInputError, match=r"prompt 1: .*dimensions=7"):
        plain.embed(["a", "b", "c", "d"], pooling_params=params)
    outputs = plain.embed(["a", "b", "c", "d"], pooling_params=params, on_error="return", use_tqdm=False)
    assert [output.error and str(output.error).partition(":")[0] for output in outputs] == [
        None,
        "prompt 1",
        "prompt 2",
        None,
    ]
    assert [output.outputs is None for output in outputs] == [False, True, True, False]


# --- from prompts to outputs ------------------------------------------------------------------------------------------


def test_an_invalid_prompt_becomes_a_job_with_an_error_and_its_index(plain):
    processor, items = split(plain, ["a", [10**9], 7, "b"], None, "embed")
    jobs = processor.encode(range(100, 104), items)
    assert [job.index for job in jobs] == [100, 101, 102, 103]
    assert [job.error and str(located(job.error, job.index)).split(":")[0] for job in jobs] == [
        None,
        "prompt 101",
        "prompt 102",
        None,
    ]
    assert [len(job.sequences) for job in jobs] == [1, 0, 0, 1]


def test_an_error_during_encoding_contains_the_index_of_the_prompt(llm):
    processor, items = split(llm, [[7], [99]], None, "embed")
    assert [job.error and str(located(job.error, job.index)) for job in processor.encode(range(100, 102), items)] == [
        None,
        "prompt 101: 99 cannot be served",
    ]


class Done(IOProcessor):
    """Its outputs are always the same."""

    def encode(self, call):
        return [Job() for _ in call.prompts]

    def decode(self, job):
        return "done"


def finished(error=None, index=4):
    request = PoolingRequest(input_ids=np.array([1, 2]), representations=(), error=error, num_dropped_tokens=3)
    ctx = SimpleNamespace(
        task=None,
        routes={},
        tokenizer=None,
        tasks=(),
        config=SimpleNamespace(get=lambda name, default: default, of_text={}),
        model=SimpleNamespace(architecture="Any", max_model_len=None, multimodal=MultimodalSettings()),
        registry=SimpleNamespace(
            architectures=SimpleNamespace(find=lambda _: None), tasks=SimpleNamespace(find=lambda _: None)
        ),
    )
    task = BoundTask("done", Done(ctx), count(), deduplicate=True)
    job = Job(sequences=(request,))
    job.index = index
    ((output_index, output),) = task.finish([job], {index: [index]})
    assert output_index == index
    return output


def test_an_output_has_its_token_ids_and_the_number_of_dropped_tokens():
    output = finished()
    assert (output.outputs, output.error, output.request_id) == ("done", None, "")
    assert (output.prompt_token_ids, output.num_prompt_tokens) == ([1, 2], 2)
    assert (output.num_dropped_tokens, output.truncated) == (3, True)


def test_errors_of_the_engine_name_the_prompt_once_and_keep_their_type_and_cause():
    cause = RuntimeError("why")
    error = NonFiniteOutputError("NaN")
    error.__cause__ = cause
    located = finished(error).error
    assert (str(located), type(located), located.__cause__) == ("prompt 4: NaN", NonFiniteOutputError, cause)
    assert str(finished(located).error) == "prompt 4: NaN"
    assert str(finished(InvalidInputError("no")).error) == "prompt 4: no"
    assert str(finished(InvalidInputError("no", index=2)).error) == "prompt 4: no"


# --- several requests a prompt ----------------------------------------------------------------------------------------


def test_a_prompt_of_several_requests_is_merged_when_the_last_has_ended(llm):
    prompts = [[7 + number % 20 + offset for offset in range(number % 6)] for number in range(1, 400)]
    prompts = [prompt or [7] for prompt in prompts]
    alone = {number: embed(llm, [[number]])[0].outputs.array for number in range(7, 40)}
    for prompt, output in zip(prompts, embed(llm, prompts), strict=True):
        wanted = np.mean([alone[number] for number in prompt], axis=0)
        np.testing.assert_allclose(output.outputs.array, wanted, atol=1e-5, rtol=0)
        assert output.num_dropped_tokens == len(prompt)
        assert output.prompt_token_ids == (prompt if len(prompt) == 1 else [])


def test_a_prompt_without_requests_needs_no_computation(llm, chunking):
    seen = []
    chunking.watch(seen.append)
    (output,) = embed(llm, [[]])
    assert output.outputs.array.shape == (0,)
    assert seen == []


def test_one_failing_request_fails_its_prompt_and_no_other(llm, chunking, kit):
    chunking.watch(kit.fails_on(POISON))
    outputs = embed(llm, [[7, 8], [9, POISON, 10], "text", [99], [7, 98], [], [11]], on_error="return")
    assert [None if output.error is None else str(output.error) for output in outputs] == [
        None,
        f"prompt 1: {BERT} failed on this request: RuntimeError: poison",
        "prompt 2: a list was wanted",
        "prompt 3: 99 cannot be served",
        "prompt 4: 98 cannot be merged",
        None,
        None,
    ]


def test_llm_and_async_llm_return_the_same_for_any_processor(llm, folder, chunking, kit):
    prompts = [[7, 8], [9, POISON, 10], "text", [99], [7, 98], [], [11]]
    chunking.watch(kit.fails_on(POISON))

    async def main():
        async with AsyncLLM(folder, plugins=chunking.plugins, num_workers=2) as other:
            return await other.embed(prompts, on_error="return")

    for output, twin in zip(asyncio.run(main()), embed(llm, prompts, on_error="return"), strict=True):
        assert str(output.error) == str(twin.error)
        if output.error is None:
            np.testing.assert_allclose(output.outputs.array, twin.outputs.array, atol=1e-6, rtol=0)
