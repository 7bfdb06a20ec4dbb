"""The token budget after memory ran out, and its recovery."""

from hypothesis import given
from hypothesis import strategies as st

from millpond.engine.scheduler import (
    INITIAL_RAISE_AFTER_BATCHES,
    MAX_RAISE_AFTER_BATCHES,
    MIN_BUDGET_TOKENS,
    Scheduler,
)


def succeed(budget, count):
    for _ in range(count):
        budget.succeed()
    return budget.max_num_batched_tokens


def test_the_budget_is_raised_after_enough_successful_batches():
    budget = Scheduler(4096, 1)
    budget.shrink(2048)
    assert succeed(budget, INITIAL_RAISE_AFTER_BATCHES - 1) == 2048
    assert succeed(budget, 1) == 2560
    assert succeed(budget, INITIAL_RAISE_AFTER_BATCHES) == 3200
    assert succeed(budget, INITIAL_RAISE_AFTER_BATCHES) == 4000
    assert succeed(budget, 10 * INITIAL_RAISE_AFTER_BATCHES) == 4096


def test_a_raise_that_failed_delays_the_next_one():
    budget = Scheduler(4096, 1)
    budget.shrink(2000)
    needed = INITIAL_RAISE_AFTER_BATCHES
    while needed < 2 * MAX_RAISE_AFTER_BATCHES:
        assert succeed(budget, needed) == 2500
        budget.shrink(2000)
        needed = (
            min(2 * needed, MAX_RAISE_AFTER_BATCHES)
            if needed < MAX_RAISE_AFTER_BATCHES
            else 2 * MAX_RAISE_AFTER_BATCHES
        )
    assert succeed(budget, MAX_RAISE_AFTER_BATCHES - 1) == 2000
    assert succeed(budget, 1) == 2500


def test_a_failure_resets_the_count():
    budget = Scheduler(4096, 1)
    budget.shrink(2000)
    succeed(budget, INITIAL_RAISE_AFTER_BATCHES - 1)
    budget.shrink(3000)
    assert succeed(budget, INITIAL_RAISE_AFTER_BATCHES - 1) == 2000
    assert succeed(budget, 1) == 2500


@given(st.integers(1, 10_000), st.lists(st.one_of(st.none(), st.integers(0, 10_000)), max_size=300))
def test_the_budget_stays_within_its_bounds(most, operations):
    budget = Scheduler(most, 1)
    for tokens in operations:
        before = budget.max_num_batched_tokens
        if tokens is None:
            budget.succeed()
            assert budget.max_num_batched_tokens >= before
        else:
            budget.shrink(tokens)
            assert budget.max_num_batched_tokens <= before
        assert min(most, MIN_BUDGET_TOKENS) <= budget.max_num_batched_tokens <= most
