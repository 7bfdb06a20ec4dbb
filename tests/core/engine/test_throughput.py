"""Throughput: tokens per second of the time in which batches ran, weighted towards the latest batches."""

import pytest

from millpond.engine.engine import Throughput


def measured(*batches):
    throughput = Throughput()
    for tokens, began, ended in batches:
        throughput.note(tokens, began=began, ended=ended)
    return throughput


def test_the_rate_is_zero_before_the_first_batch():
    assert (Throughput().rate, Throughput().seconds_for(1_000)) == (0.0, 0.0)


def test_idle_time_does_not_count():
    assert measured((100, 0.0, 1.0), (100, 50.0, 51.0)).rate == pytest.approx(100)


def test_concurrent_batches_add_up():
    assert measured((100, 0.0, 1.0), (100, 0.0, 1.0), (100, 1.0, 2.0), (100, 1.0, 2.0)).rate == pytest.approx(
        200, rel=0.1
    )


def test_the_latest_batches_have_the_largest_weight():
    slow, fast = [(100, n, n + 1.0) for n in range(50)], [(1000, n, n + 1.0) for n in range(50, 80)]
    assert measured(*slow, *fast).rate == pytest.approx(1000, rel=0.05)


def test_seconds_for_tokens_follow_from_the_rate():
    assert measured((100, 0.0, 2.0)).seconds_for(250) == pytest.approx(5.0)
