"""The scheduler: budgets, groups, priorities, and what is shared among idle workers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.engine.request import PoolingRequest, RequestState
from millpond.engine.scheduler import (
    BATCH_PRIORITY_DIVISOR,
    INTERACTIVE_WINDOW_BATCHES,
    MIN_SHARE_TOKENS,
    OLDEST_FIRST_INTERVAL,
    Scheduler,
)


def waiting(length, *, group="text", priority=0):
    ids = np.zeros(length, dtype=np.int64)
    return PoolingRequest(input_ids=ids, representations=(), group=group, state=RequestState(priority))


def filled(*requests, budget=100, seqs=512):
    scheduler = Scheduler(budget, seqs)
    for request in requests:
        scheduler.add(request)
    return scheduler


def take_all(scheduler, workers=1):
    batches = []
    while scheduler.num_waiting:
        batches.append(scheduler.take(workers))
    return batches


def lengths(batches):
    return [[request.num_tokens for request in batch] for batch in batches]


def test_a_batch_contains_at_most_the_tokens_of_the_budget():
    assert lengths(take_all(filled(*[waiting(30) for _ in range(10)]))) == [[30] * 3, [30] * 3, [30] * 3, [30]]


def test_a_batch_may_use_up_the_budget_to_the_token():
    assert lengths(take_all(filled(waiting(60), waiting(40), waiting(1)))) == [[60, 40], [1]]


def test_a_batch_holds_no_more_requests_than_max_num_seqs():
    assert lengths(take_all(filled(*[waiting(1) for _ in range(7)], seqs=3))) == [[1] * 3, [1] * 3, [1]]


def test_a_request_over_the_budget_runs_alone_and_in_its_turn():
    assert lengths(take_all(filled(waiting(10), waiting(101), waiting(20), waiting(30)))) == [[10], [101], [20, 30]]


def test_an_empty_sequence_counts_as_one_token():
    scheduler = filled(waiting(0), waiting(0))
    assert scheduler.waiting_tokens == 2
    assert len(scheduler.take()) == 2
    assert scheduler.waiting_tokens == 0


def test_arrival_decides_within_a_group():
    requests = [waiting(10) for _ in range(5)]
    assert filled(*requests, budget=1000).take() == requests


def test_the_lowest_priority_number_is_first_and_ties_are_in_order_of_arrival():
    late = [waiting(10, priority=priority) for priority in (-1, -6, -1, -7, -6)]
    taken = filled(*late, budget=1000).take()
    assert [late.index(request) for request in taken] == [3, 1, 4, 0, 2]


def test_batch_and_interactive_requests_share_no_batch():
    late = [waiting(10, priority=priority) for priority in (5, 0, 1, -1, 5)]
    batches = take_all(filled(*late, budget=1000))
    assert [[late.index(request) for request in batch] for batch in batches] == [[3, 1], [2, 0, 4]]


def test_batches_of_batch_requests_are_smaller_while_interactive_ones_arrive():
    scheduler = filled(*[waiting(256, priority=1) for _ in range(300)], budget=4096)
    assert len(scheduler.take()) == 16
    scheduler.add(waiting(10))
    taken = [len(scheduler.take()) for _ in range(INTERACTIVE_WINDOW_BATCHES + 1)]
    assert taken == [1, *[16 // BATCH_PRIORITY_DIVISOR] * (INTERACTIVE_WINDOW_BATCHES - 1), 16]


@pytest.mark.parametrize(("urgent", "patient"), [(0, 1), (-5, 0), (3, 4)])
def test_a_stream_of_urgent_requests_does_not_starve_the_others(urgent, patient):
    scheduler = filled(*[waiting(10, priority=patient) for _ in range(40)], budget=100)
    taken = []
    for _ in range(4 * OLDEST_FIRST_INTERVAL):
        for _ in range(20):  # more than a batch: at any time something urgent waits
            scheduler.add(waiting(10, priority=urgent))
        taken.append(scheduler.take())
    turns = [position for position, batch in enumerate(taken) if batch[0].state.priority == patient]
    assert turns == [
        OLDEST_FIRST_INTERVAL - 1,
        2 * OLDEST_FIRST_INTERVAL - 1,
        3 * OLDEST_FIRST_INTERVAL - 1,
        4 * OLDEST_FIRST_INTERVAL - 1,
    ]
    assert [len(taken[position]) for position in turns] == [10] * 4
    assert [request.state.ticket for position in turns for request in taken[position]] == list(range(1, 41))


def turns_beside_a_stream(scheduler, batches, *, arriving):
    """Take batches while interactive requests arrive; return the tokens of interactive and of batch requests."""
    tokens = [0, 0]
    for _ in range(batches):
        for length in arriving:
            scheduler.add(waiting(length))
        taken = scheduler.take()
        tokens[taken[0].state.priority > 0] += sum(request.num_tokens for request in taken)
    return tokens


def test_batch_requests_get_one_token_in_eight_beside_a_stream():
    scheduler = filled(*[waiting(64, priority=1) for _ in range(1000)], budget=1024)
    interactive, batch = turns_beside_a_stream(scheduler, 400, arriving=[64] * 20)
    assert abs(batch / (interactive + batch) - 1 / OLDEST_FIRST_INTERVAL) < 0.005


@pytest.mark.parametrize(("arriving", "batches"), [([64] * 20, 24), ([300, 500, 500], 28), ([5], 64)])
def test_a_large_request_ends_after_a_bounded_number_of_batches(arriving, batches):
    """With one small batch in eight, a request of two batches took 64 batches, or ten seconds on two cores."""
    scheduler = filled(*[waiting(64, priority=1) for _ in range(32)], budget=1024)
    assert turns_beside_a_stream(scheduler, batches, arriving=arriving)[1] == 32 * 64


def test_a_request_longer_than_a_turn_is_due_after_at_most_eight_batches():
    scheduler = filled(*[waiting(4096, priority=1) for _ in range(3)], budget=1024)
    assert turns_beside_a_stream(scheduler, 3 * OLDEST_FIRST_INTERVAL, arriving=[64] * 20)[1] == 3 * 4096


def test_a_request_that_is_not_overtaken_gets_no_credit():
    scheduler = filled(budget=100)
    for _ in range(3 * OLDEST_FIRST_INTERVAL):
        scheduler.add(waiting(10))
        scheduler.add(waiting(10, priority=1))
        assert [request.state.priority for request in scheduler.take()] == [0]
        assert [request.state.priority for request in scheduler.take()] == [1]


def test_the_group_whose_first_request_is_due_is_first():
    text, image, urgent = waiting(10), waiting(10, group="image"), waiting(10, group="image", priority=-1)
    assert take_all(filled(text, image, urgent)) == [[urgent, image], [text]]


def test_two_interleaved_groups_do_not_end_each_others_batches():
    """One queue for all once made 151 batches of these 300 requests, and seven times the latency."""
    mixed = [waiting(10, group=("text", "image")[number % 2]) for number in range(300)]
    batches = take_all(filled(*mixed, budget=1000))
    assert all(len({request.group for request in batch}) == 1 for batch in batches)
    assert [len(batch) for batch in batches] == [100, 100, 50, 50]


def test_groups_take_turns_by_the_age_of_their_first_request():
    mixed = [waiting(50, group=("text", "image")[number % 2]) for number in range(8)]
    assert [batch[0].group for batch in take_all(filled(*mixed))] == ["text", "image", "text", "image"]


def test_waiting_requests_are_shared_among_idle_workers():
    scheduler = filled(*[waiting(100) for _ in range(20)], budget=4096)
    assert [len(scheduler.take(2)), len(scheduler.take(1))] == [10, 10]


def test_four_idle_workers_each_get_a_share():
    scheduler = filled(*[waiting(100) for _ in range(40)], budget=4096)
    assert [len(scheduler.take(idle)) for idle in (4, 3, 2, 1)] == [10, 10, 10, 10]


def test_too_little_is_not_shared():
    scheduler = filled(*[waiting(MIN_SHARE_TOKENS // 8) for _ in range(8)], budget=4096)
    assert len(scheduler.take(2)) == 8


def test_a_share_is_never_over_the_budget():
    scheduler = filled(waiting(60), waiting(40), waiting(40), budget=100)
    assert lengths([scheduler.take(2)]) == [[60, 40]]


def test_with_tokens_for_all_workers_only_the_budget_limits_a_batch():
    scheduler = filled(*[waiting(100) for _ in range(90)], budget=4000)
    assert len(scheduler.take(2)) == 40


def test_clear_returns_and_removes_all_waiting_requests():
    requests = [waiting(10, group=group) for group in ("text", "image", "text")]
    scheduler = filled(*requests)
    assert set(scheduler.clear()) == set(requests)
    assert (scheduler.num_waiting, scheduler.waiting_tokens) == (0, 0)
    scheduler.add(requests[0])
    assert scheduler.take() == [requests[0]]


ADD = st.tuples(st.just("add"), st.integers(0, 70), st.sampled_from(["text", "image", "sound"]), st.integers(-1, 1))
TAKE = st.tuples(st.just("take"), st.integers(1, 4))
CLEAR = st.just(("clear",))
CANCEL = st.tuples(st.just("cancel"), st.sets(st.integers(0, 20), max_size=5))


def check_batch(batch, left, *, scheduler, workers):
    """Check the group, priority class, first request and limits of a batch."""
    first = batch[0]

    def order(request):
        return request.state.priority != first.state.priority, request.state.priority, request.state.ticket

    def shares(request):
        return request.group == first.group and (request.state.priority > 0) == (first.state.priority > 0)

    tokens = sum(request.num_tokens for request in batch)
    is_due = all(
        (first.state.priority, first.state.ticket) < (request.state.priority, request.state.ticket) for request in left
    )
    assert is_due or all(first.state.ticket < request.state.ticket for request in left)
    assert batch == sorted(batch, key=order)
    assert all(shares(request) for request in batch)
    assert len(batch) == 1 or tokens <= scheduler.max_num_batched_tokens
    assert len(batch) <= scheduler.max_num_seqs
    same = sorted(filter(shares, left), key=order)
    assert not same or order(batch[-1]) < order(same[0])
    if same and workers == 1 and len(batch) < scheduler.max_num_seqs:
        assert tokens + same[0].num_tokens > scheduler.max_num_batched_tokens


@settings(deadline=None, max_examples=200)
@given(
    operations=st.lists(st.one_of(ADD, ADD, ADD, TAKE, CANCEL, CLEAR), max_size=60),
    budget=st.integers(1, 120),
    seqs=st.integers(1, 6),
)
def test_nothing_is_lost_doubled_or_miscounted(operations, budget, seqs):
    scheduler, left = Scheduler(budget, seqs), []
    for what, *arguments in [*operations, *[("take", 1)] * len(operations)]:
        if what == "add":
            length, group, priority = arguments
            left.append(waiting(length, group=group, priority=priority))
            scheduler.add(left[-1])
        elif what == "clear":
            assert set(scheduler.clear()) == set(left)
            left = []
        elif what == "cancel":
            for request in [request for number, request in enumerate(left) if number in arguments[0]]:
                request.cancel()
            assert set(scheduler.drop_cancelled()) == {request for request in left if request.state.cancelled}
            left = [request for request in left if not request.state.cancelled]
        elif left:
            batch = scheduler.take(*arguments)
            assert len(set(batch)) == len(batch) > 0
            assert set(batch) <= set(left)
            left = [request for request in left if request not in batch]
            check_batch(batch, left, scheduler=scheduler, workers=arguments[0])
        assert scheduler.num_waiting == len(left)
        assert scheduler.waiting_tokens == sum(request.num_tokens for request in left)
    assert not left


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_every_idle_worker_takes_something_while_there_is_enough(workers):
    scheduler = filled(*[waiting(MIN_SHARE_TOKENS) for _ in range(workers)], budget=4096)
    assert [len(scheduler.take(idle)) for idle in range(workers, 0, -1)] == [1] * workers
