"""Answers as JSON: the same bytes whether they are written at once or a slice at a time."""

import asyncio

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond_server.writing import JSON_OPTIONS, SLICE, as_json

LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=5))
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=3), inner, max_size=4)
)


@settings(deadline=None, max_examples=200)
@given(VALUES)
def test_whatever_it_is_it_is_what_orjson_writes(value):
    assert asyncio.run(as_json(value)) == orjson.dumps(value, option=JSON_OPTIONS)


@pytest.mark.parametrize("count", [0, 1, SLICE - 1, SLICE, SLICE + 1, 2 * SLICE, 5 * SLICE + 7])
def test_vectors_are_written_the_same_in_slices(count):
    rows = list(np.random.default_rng(0).standard_normal((count, 7)).astype(np.float32))
    items = [{"index": place, "embedding": row} for place, row in enumerate(rows)]
    for value in (rows, {"data": items, "id": "x"}, {"embeddings": {"float": rows, 7: rows}, "ids": []}):
        assert asyncio.run(as_json(value)) == orjson.dumps(value, option=JSON_OPTIONS)


@pytest.mark.slow
def test_others_are_served_meanwhile():
    async def both():
        async def other():
            while not done.is_set():
                turns.append(1)
                await asyncio.sleep(0)

        turns, done = [], asyncio.Event()
        task = asyncio.ensure_future(other())
        await as_json({"data": [np.zeros(4, dtype=np.float32)] * (10 * SLICE)})
        done.set()
        await task
        return len(turns)

    assert asyncio.run(both()) >= 9
