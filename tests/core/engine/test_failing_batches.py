"""Failing batches: only the failing request fails, with its error, after a few additional forward passes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.engine.engine import Engine
from millpond.engine.runner import Runner
from millpond.types.config import EngineConfig
from millpond.types.errors import EngineError, InvalidInputError, NonFiniteOutputError

POISON, WORSE = 666, 777


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize("index", [0, 31, 63])
def test_one_failing_input_among_64_fails_alone_after_few_forward_passes(kit, model, make_engine, num_workers, index):
    engine = make_engine(num_workers)
    clean = kit.run_all(engine, kit.numbered(64))
    forwards = len(model.seen)
    model.on_forward = kit.fails_on(POISON)
    requests = kit.numbered(64)
    requests[index] = kit.request([POISON])
    kit.run_all(engine, requests)
    assert [number for number, request in enumerate(requests) if request.error is not None] == [index]
    assert isinstance(requests[index].error, EngineError)
    assert "RuntimeError: poison" in str(requests[index].error)
    assert isinstance(requests[index].error.__cause__, RuntimeError)
    assert len(model.seen) - forwards <= forwards + 2 * 6
    for request, twin in zip(requests, clean, strict=True):
        assert request.error is not None or request.results[0].tolist() == twin.results[0].tolist()


def test_two_failing_inputs_fail_alone_each_with_its_own_error(kit, model, make_engine):
    def on_forward(sequences):
        kit.fails_on(POISON)(sequences)
        kit.fails_on(WORSE, error=lambda: ValueError("worse"))(sequences)

    model.on_forward = on_forward
    requests = kit.numbered(64)
    requests[7], requests[50] = kit.request([POISON]), kit.request([WORSE])
    kit.run_all(make_engine(), requests)
    kit.check([request for number, request in enumerate(requests) if number not in (7, 50)])
    assert "poison" in str(requests[7].error)
    assert "worse" in str(requests[50].error)
    assert len(model.seen) <= 1 + 4 * 6


def test_a_batch_of_only_failing_inputs_fails_request_by_request(kit, model, make_engine):
    model.on_forward = kit.fails_on(POISON)
    engine = make_engine()
    requests = kit.run_all(engine, [kit.request([POISON, number]) for number in range(64)])
    assert all(isinstance(request.error, EngineError) for request in requests)
    assert len({id(request.error) for request in requests}) == 64
    assert len(model.seen) == 127
    kit.check(kit.run_all(engine, [kit.request([1])]))


def test_equal_failing_inputs_fail_like_different_ones(kit, model, make_engine):
    model.on_forward = kit.fails_on(POISON)
    requests = [kit.request([POISON if number in (3, 12) else number]) for number in range(16)]
    kit.run_all(make_engine(), requests)
    assert [number for number, request in enumerate(requests) if request.error] == [3, 12]


def test_a_failing_batch_does_not_fail_waiting_requests(kit, model, make_engine):
    model.on_forward = kit.fails_on(POISON)
    engine = make_engine(max_num_seqs=8)
    requests = [kit.request([POISON if number == 0 else number]) for number in range(40)]
    kit.check(kit.run_all(engine, requests)[1:])


def test_nan_and_a_failing_input_in_one_batch_are_distinguished(kit, model, make_engine):
    model.on_forward, model.nan_at = kit.fails_on(POISON), WORSE
    requests = kit.run_all(make_engine(), [kit.request([number]) for number in (1, WORSE, 2, POISON, 3)])
    assert isinstance(requests[1].error, NonFiniteOutputError)
    assert "poison" in str(requests[3].error)
    kit.check([requests[0], requests[2], requests[4]])


def test_a_pooler_that_fails_on_one_request_fails_it_alone(kit, make_engine):
    """The poison may be what is asked for: the other requests of the same sequence are served."""
    engine = make_engine()
    bad = kit.request([5], tasks=["no such task"])
    good = [kit.request([number]) for number in range(8)]
    kit.run_all(engine, [*good[:4], bad, *good[4:]])
    assert isinstance(bad.error, EngineError)
    kit.check(good)


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, RecursionError])
def test_any_exception_of_a_model_becomes_the_error_of_the_request(kit, model, make_engine, error):
    model.on_forward = kit.fails_on(POISON, error=lambda: error("out"))
    requests = kit.run_all(make_engine(2), [kit.request([number]) for number in (1, POISON, 2)])
    assert isinstance(requests[1].error, EngineError)
    assert error.__name__ in str(requests[1].error)
    kit.check([requests[0], requests[2]])


def test_an_error_that_a_model_raises_on_purpose_is_unchanged(kit, model, make_engine):
    refusal = InvalidInputError("no such segment")
    model.on_forward = kit.fails_on(POISON, error=lambda: refusal)
    (request,) = kit.run_all(make_engine(), [kit.request([POISON])])
    assert request.error is refusal


@pytest.fixture(scope="module")
def pools(kit):
    """A model and its runner for each number of workers, made once, for hypothesis runs a test many times."""
    models = {num_workers: kit.model() for num_workers in (1, 2, 3)}
    runners = {n: Runner(model, device=torch.device("cpu"), num_workers=n) for n, model in models.items()}
    yield lambda num_workers: (models[num_workers], runners[num_workers])
    for runner in runners.values():
        runner.close()


@settings(deadline=None, max_examples=40)
@given(
    tokens=st.lists(st.integers(0, 30), min_size=1, max_size=40),
    bad=st.sets(st.integers(0, 30), max_size=6),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 40)),
)
def test_exactly_the_failing_requests_fail(kit, pools, tokens, bad, shape):
    num_workers, budget = shape
    model, runner = pools(num_workers)
    model.on_forward = kit.fails_on(*bad)
    engine = Engine(runner, EngineConfig(max_num_batched_tokens=budget, max_num_seqs=9))
    requests = kit.run_all(engine, [kit.request([token] * (1 + token % 3)) for token in tokens])
    assert [request.error is not None for request in requests] == [token in bad for token in tokens]
    kit.check([request for request in requests if request.error is None])
