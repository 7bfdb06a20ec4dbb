"""The tokens with which all sequences of a call begin."""

import numpy as np
import pytest

from millpond.engine.request import PoolingRequest, Representation
from millpond.pipeline.shared_prefix import MAX_PREFIX_TOKENS, MIN_PREFIX_TOKENS, PrefixFinder
from millpond.types.params import PoolingParams

PARAMS = PoolingParams()
PREFIX = list(range(100, 130))


def request(ids, params=PARAMS, **fields):
    return PoolingRequest(
        input_ids=np.array(ids, dtype=np.int64), representations=(Representation("embed", params),), **fields
    )


def marked(*windows, enabled=True):
    """Return the lengths of the prefixes of each window of a call, 0 for none."""
    finder = PrefixFinder(enabled=enabled)
    for window in windows:
        finder.mark(window)
    return [[0 if it.state.prefix is None else len(it.state.prefix.ids) for it in window] for window in windows]


def test_sequences_that_begin_alike_share_the_longest_common_prefix():
    sequences = [request([*PREFIX, 1, 2]), request([*PREFIX, 1, 3]), request([*PREFIX, 4])]
    assert marked(sequences) == [[30, 30, 30]]
    (prefix,) = {it.state.prefix for it in sequences}
    assert prefix.ids.tolist() == PREFIX
    assert prefix.states is None


def test_each_sequence_keeps_a_token_of_its_own():
    assert marked([request(PREFIX), request([*PREFIX, 1]), request(PREFIX)]) == [[29, 29, 29]]
    assert marked([request([]), request([])]) == [[0, 0]]


@pytest.mark.parametrize("length", [0, 1, MIN_PREFIX_TOKENS - 1])
def test_few_tokens_are_not_shared(length):
    assert marked([request([*PREFIX[:length], 1]), request([*PREFIX[:length], 2])]) == [[0, 0]]


def test_the_shortest_and_the_longest_prefix():
    long = [7] * (MAX_PREFIX_TOKENS + 50)
    assert marked([request([*PREFIX[:MIN_PREFIX_TOKENS], n]) for n in (1, 2)]) == [[MIN_PREFIX_TOKENS] * 2]
    assert marked([request(long), request(long)]) == [[MAX_PREFIX_TOKENS] * 2]


def test_one_sequence_or_none_shares_nothing():
    assert marked([], [request(PREFIX)]) == [[], [0]]


def test_one_different_sequence_prevents_sharing():
    assert marked([request([*PREFIX, 1]), request([*PREFIX, 2]), request([5, *PREFIX])]) == [[0, 0, 0]]


def test_nothing_is_shared_if_it_is_disabled():
    assert marked([request([*PREFIX, 1]), request([*PREFIX, 2])], enabled=False) == [[0, 0]]


@pytest.mark.parametrize(
    "different",
    [
        {"features": {"pixels": np.zeros(3)}},
        {"token_type_ids": np.zeros(32, dtype=np.int64)},
        {"route": "query"},
        {"group": "images"},
        {"params": PoolingParams(adapter="retrieval.query")},
    ],
    ids=lambda different: next(iter(different)),
)
def test_sequences_of_different_kinds_share_nothing(different):
    assert marked([request([*PREFIX, 1]), request([*PREFIX, 2], **different)]) == [[0, 0]]


def test_windows_of_a_call_share_one_prefix():
    windows = [[request([*PREFIX, 1]), request([*PREFIX, 2])], [request([*PREFIX, 3])], [request([*PREFIX, 4, 5])] * 2]
    assert marked(*windows) == [[30, 30], [30], [30, 30]]
    assert len({it.state.prefix for window in windows for it in window}) == 1


def test_a_later_window_may_share_less():
    windows = [
        [request([*PREFIX, 1]), request([*PREFIX, 2])],
        [request([*PREFIX[:20], 3]), request([*PREFIX[:20], 4])],
        [request([*PREFIX, 5])],
        [request([6] * 40)],
        [request([*PREFIX, 7])],
    ]
    assert marked(*windows) == [[30, 30], [20, 20], [20], [0], [20]]


def test_calls_share_nothing_with_each_other():
    calls = [[request([*PREFIX, 1]), request([*PREFIX, 2])] for _ in range(2)]
    for call in calls:
        PrefixFinder(enabled=True).mark(call)
    assert calls[0][0].state.prefix is not calls[1][0].state.prefix
