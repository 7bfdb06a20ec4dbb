"""The token budget after memory ran out, and its recovery."""

from hypothesis import given
from hypothesis import strategies as st

from millpond.engine.scheduler import (
    INITIAL_RAISE_AFTER_BATCHES,
    MAX_RAISE_AFTER_BATCHES,
    MIN_BUDGET_TOKENS,
    TokenBudget,
)


def succeed(budget, count):
    for _ in range(count):
        budget.succeed()
    return budget.tokens


def test_the_budget_is_raised_after_enough_successful_batches():
    budget = TokenBudget(4096)
    budget.shrink(2048)
    assert succeed(budget, INITIAL_RAISE_AFTER_BATCHES - 1) == 2048
    assert succeed(budget, 1) == 2560
    assert succeed(budget, INITIAL_RAISE_AFTER_BATCHES) == 3200
    assert succeed(budget, INITIAL_RAISE_AFTER_BATCHES) == 4000
    assert succeed(budget, 10 * INITIAL_RAISE_AFTER_BATCHES) == 4096


def test_a_raise_that_failed_delays_the_next_one():
    budget = TokenBudget(4096)
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
    budget = TokenBudget(4096)
    budget.shrink(2000)
    succeed(budget, INITIAL_RAISE_AFTER_BATCHES - 1)
    budget.shrink(3000)
    assert succeed(budget, INITIAL_RAISE_AFTER_BATCHES - 1) == 2000
    assert succeed(budget, 1) == 2500


@given(st.integers(1, 10_000), st.lists(st.one_of(st.none(), st.integers(0, 10_000)), max_size=300))
def test_the_budget_stays_within_its_bounds(most, operations):
    budget = TokenBudget(most)
    for tokens in operations:
        before = budget.tokens
        if tokens is None:
            budget.succeed()
            assert budget.tokens >= before
        else:
            budget.shrink(tokens)
            assert budget.tokens <= before
        assert min(most, MIN_BUDGET_TOKENS) <= budget.tokens <= most
