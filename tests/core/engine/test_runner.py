"""The runner: packing, equal sequences, representations, values on the host, and failures."""

import numpy as np
import pytest
import torch
from engine_kit import on_worker
from torch import nn

from millpond.engine.request import Representation
from millpond.types.errors import ComponentError, NonFiniteOutputError
from millpond.types.params import PoolingParams

DIM_2, DIM_3 = PoolingParams(dimensions=2), PoolingParams(dimensions=3)


def run(runner, *requests):
    """The requests after a batch of theirs that did not fail."""
    outcome = runner.run(list(requests))
    assert outcome.error is None, outcome.error
    assert outcome.requests == list(requests)
    return requests


# --- packing ----------------------------------------------------------------------------------------------------------


def test_sequences_are_packed_by_length_and_results_find_their_requests(kit, model, make_runner):
    places = [(9, 5), (1, 2), (30, 7), (4, 1), (6, 2)]
    requests = [kit.request(range(start, start + length)) for start, length in places]
    kit.check(run(make_runner(), *requests))
    (batch,) = model.seen
    assert [len(sequence) for sequence in batch] == [1, 2, 2, 5, 7]


def test_many_shuffled_lengths_find_their_requests(kit, make_runner):
    numbers = np.random.default_rng(0)
    requests = [kit.request(numbers.integers(0, 1000, length)) for length in numbers.integers(1, 40, 200)]
    kit.check(run(make_runner(), *requests))


def test_the_order_of_requests_in_an_outcome_is_that_of_the_batch(kit, make_runner):
    requests = [kit.request([1] * length) for length in (3, 1, 2)]
    assert make_runner().run(requests).requests == requests


def test_segments_reach_the_model_and_requests_without_them_have_segment_0(kit, make_runner):
    with_types, without = run(make_runner(), kit.request([5, 6], types=[1, 1]), kit.request([5, 6, 7]))
    assert with_types.results[0][2] == 1
    assert without.results[0][2] == 0


def test_features_reach_the_model_with_their_sequence(kit, make_runner):
    plain, long, short = run(
        make_runner(),
        kit.request([1] * 4),
        kit.request([1] * 5, features={"add": 100}),
        kit.request([1], features={"add": 50}),
    )
    assert [request.results[0][3] for request in (plain, long, short)] == [4, 105, 51]


# --- duplicates -------------------------------------------------------------------------------------------------------


def test_equal_sequences_are_computed_once(kit, model, make_runner):
    requests = [kit.request(ids) for ids in ([1, 2, 3], [4, 5], [1, 2, 3], [4, 5], [1, 2, 3], [6])]
    kit.check(run(make_runner(), *requests))
    assert model.seen == [[(6,), (4, 5), (1, 2, 3)]]


def test_equal_sequences_share_no_memory(kit, make_runner):
    params = PoolingParams()
    first, second, third = run(make_runner(), *[kit.request([1, 2], params=params) for _ in range(3)])
    first.results[0][:] = -1
    second.results[0][:] = -2
    np.testing.assert_allclose(third.results[0], kit.mean_of(third))


def test_sequences_that_are_permutations_are_two(kit, model, make_runner):
    run(make_runner(), kit.request([1, 2]), kit.request([2, 1]))
    assert len(model.seen[0]) == 2


def test_equal_ids_with_other_segments_are_two(kit, model, make_runner):
    segments = [None, [0, 1], [1, 0], [0, 1]]
    requests = run(make_runner(), *[kit.request([1, 2], tasks=["token_embed"], types=types) for types in segments])
    assert [request.results[0][:, 2].tolist() for request in requests] == [types or [0, 0] for types in segments]
    assert len(model.seen[0]) == 3


def test_equal_ids_with_other_features_are_two(kit, model, make_runner):
    features = [{}, {"add": 1}, {"add": 2}, {}]
    requests = run(make_runner(), *[kit.request([1, 2], features=feature) for feature in features])
    assert [request.results[0][3] for request in requests] == [2, 3, 4, 2]
    assert len(model.seen[0]) == 3


def test_equal_sequences_with_other_params_are_computed_once_and_pooled_separately(kit, model, make_runner):
    asked = [DIM_2, DIM_3, PoolingParams(), PoolingParams(dimensions=2), DIM_2]
    requests = run(make_runner(), *[kit.request([1, 2, 3], params=params) for params in asked])
    for request, params in zip(requests, asked, strict=True):
        np.testing.assert_allclose(request.results[0], kit.mean_of(request)[: params.dimensions])
    assert model.seen == [[(1, 2, 3)]]


# --- representations --------------------------------------------------------------------------------------------------


def test_several_representations_come_from_one_forward(kit, model, make_runner):
    request = kit.request([3, 4])
    full = PoolingParams()
    request.representations = (
        Representation("embed", DIM_2),
        Representation("token_embed", full),
        Representation("embed", full),
        Representation("token_embed", DIM_3),
    )
    run(make_runner(), request)
    assert len(model.seen) == 1
    assert [array.shape for array in request.results] == [(2,), (2, 4), (4,), (2, 3)]
    np.testing.assert_allclose(request.results[1], [[3, 0, 0, 2], [4, 1, 0, 2]])
    np.testing.assert_allclose(request.results[2], kit.mean_of(request))


def test_a_batch_of_different_tasks_is_one_forward(kit, model, make_runner):
    tasks = [["embed"], ["token_embed"], ["embed", "token_embed"], ["token_embed", "embed"]]
    requests = [kit.request(range(length, 2 * length), tasks=names) for length, names in enumerate(tasks, start=2)]
    run(make_runner(), *reversed(requests))
    assert len(model.seen) == 1
    for request, names in zip(requests, tasks, strict=True):
        for task, array in zip(names, request.results, strict=True):
            wanted = kit.mean_of(request)
            np.testing.assert_allclose(array if task == "embed" else array.mean(0), wanted, rtol=1e-6)


def test_token_rows_of_different_widths_are_split(kit, make_runner):
    requests = [kit.request([7] * length, tasks=["token_embed"], params=p) for length, p in [(3, DIM_2), (2, DIM_3)]]
    run(make_runner(), *requests)
    assert [request.results[0].shape for request in requests] == [(3, 2), (2, 3)]


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tasks", [["embed"], ["token_embed"]])
def test_bfloat16_is_returned_as_float32(kit, make_runner, model, tasks):
    model.dtype = torch.bfloat16
    request, other = run(make_runner(), kit.request([1, 3], tasks=tasks), kit.request([8], tasks=tasks))
    assert {array.dtype for array in (*request.results, *other.results)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(np.atleast_2d(request.results[0]).mean(0), [2, 0.5, 0, 2])


@pytest.mark.parametrize("tasks", [["embed"], ["token_embed"], ["embed", "token_embed"]])
def test_nan_in_one_sequence_fails_that_request_alone(kit, model, make_runner, tasks):
    model.nan_at = 13
    good = [kit.request(range(start, start + 3), tasks=tasks) for start in (1, 20, 30)]
    bad = kit.request([12, 13], tasks=tasks)
    run(make_runner(), good[0], bad, *good[1:])
    assert isinstance(bad.error, NonFiniteOutputError)
    assert "2 tokens" in str(bad.error)
    assert all(request.error is None and np.isfinite(request.results[0]).all() for request in good)
    assert len(model.seen) == 1


def test_infinity_fails_like_nan(kit, make_runner):
    request, good = kit.request([1], features={"add": float("inf")}), kit.request([2])
    run(make_runner(), request, good)
    assert isinstance(request.error, NonFiniteOutputError)
    kit.check([good])


def test_every_equal_sequence_with_nan_gets_the_error(kit, model, make_runner):
    model.nan_at = 13
    requests = run(make_runner(), *[kit.request([13]) for _ in range(3)])
    assert all(isinstance(request.error, NonFiniteOutputError) for request in requests)


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_batch_that_fails_leaves_no_results(kit, model, make_runner):
    model.on_forward = kit.fails_on(7)
    requests = [kit.request([7]), kit.request([8])]
    outcome = make_runner().run(requests)
    assert isinstance(outcome.error, RuntimeError)
    assert all(request.results == [] and request.error is None for request in requests)


def test_results_of_one_pooler_are_dropped_if_another_fails(kit, model, make_runner):
    """Else a request that succeeds when it is run again would still carry an error."""

    class Broken(nn.Module):
        def forward(self, *_):
            raise RuntimeError("broken pooler")

    model.nan_at = 13
    model.poolers["broken"] = Broken()
    request = kit.request([13], tasks=["embed", "broken"])
    assert "broken pooler" in str(make_runner().run([request]).error)
    assert (request.error, request.results) == (None, [])


@pytest.mark.parametrize("extra", [-1, 1])
def test_a_pooler_with_too_few_or_too_many_results_fails_its_batch(kit, model, make_runner, extra):
    class Miscounting(nn.Module):
        def forward(self, _, metadata):
            return torch.zeros(len(metadata.lengths) + extra, 4)

    model.poolers["embed"] = Miscounting()
    requests = [kit.request([1]), kit.request([2, 3])]
    error = make_runner().run(requests).error
    assert type(error) is ComponentError
    assert str(error) == (
        f"the model broke its contract: for the task 'embed' it returned a tensor [{2 + extra}, 4]; expected one "
        "result for each of 2 sequences: a tensor [2, dim], or a list of 2 tensors"
    )
    assert all(request.results == [] for request in requests)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError])
def test_a_worker_survives_any_exception_of_a_model(kit, model, make_runner, error):
    model.on_forward = kit.fails_on(7, error=error)
    runner = make_runner(1)
    assert isinstance(on_worker(runner, kit.request([7])).error, error)
    good = kit.request([8])
    assert on_worker(runner, good).error is None
    kit.check([good])


def test_a_model_with_another_number_of_rows_than_tokens_is_an_error(make_engine, model, kit):
    model.forward = lambda batch: torch.zeros(batch.num_tokens + 1, 4)
    engine = make_engine()
    request = kit.request([5, 6, 7])
    engine.add(request)
    kit.drain(engine)
    message = "forward returned a tensor [4, 4]; expected a tensor [3, hidden], one row for each token"
    assert str(request.error) == f"the model broke its contract: {message}"
