"""Parameters of calls are completed once for the same object, and again if a caller could have changed them."""

import pytest

from millpond import LLM, InvalidInputError, PoolingParams
from millpond.testing.checkpoints import tiny


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    folder = tiny("BertModel", tmp_path_factory.mktemp("completed") / "bert")
    with LLM(str(folder), num_workers=1, hf_overrides={"is_matryoshka": True}) as llm:
        yield llm


@pytest.fixture
def completed(llm, monkeypatch):
    """Record the parameters that the IO processor of ``embed`` completes."""
    processor = llm.pipeline.processor("embed")
    complete, recorded = processor.complete, []
    monkeypatch.setattr(processor, "complete", lambda asked: recorded.append(asked.params) or complete(asked))
    return recorded


def size(llm, **options):
    (output,) = llm.embed("a mill by a pond", use_tqdm=False, **options)
    return output.outputs.hidden_size


def test_calls_with_the_same_number_complete_their_parameters_once(llm, completed):
    assert [size(llm, dimensions=7) for _ in range(3)] == [7, 7, 7]
    assert len(completed) == 1


def test_calls_with_the_same_object_complete_it_once(llm, completed):
    params = PoolingParams(dimensions=6)
    assert [size(llm, pooling_params=params) for _ in range(3)] == [6, 6, 6]
    assert completed == [params]


def test_alternating_parameters_keep_their_own_results(llm):
    plain = size(llm)
    assert [size(llm, dimensions=number) for number in (4, 5, 4)] == [4, 5, 4]
    assert (size(llm), size(llm, dimensions=5)) == (plain, 5)


def test_invalid_parameters_are_refused_in_each_call(llm):
    for _ in range(2):
        with pytest.raises(InvalidInputError, match="dimensions"):
            size(llm, dimensions=10**6)
        with pytest.raises(InvalidInputError, match="dimensions"):
            size(llm, dimensions=True)
    assert size(llm, dimensions=1) == 1


def test_an_object_with_options_is_completed_in_each_call(llm, completed):
    params = PoolingParams(dimensions=6, extra_kwargs={})
    assert [size(llm, pooling_params=params) for _ in range(2)] == [6, 6]
    assert len(completed) == 2


def test_options_that_a_caller_adds_to_an_object_take_effect_in_the_next_call(llm):
    params = PoolingParams(dimensions=6, extra_kwargs={})
    assert size(llm, pooling_params=params) == 6
    params.extra_kwargs["pool_factor"] = 2
    with pytest.raises(InvalidInputError, match="pool_factor"):
        size(llm, pooling_params=params)
