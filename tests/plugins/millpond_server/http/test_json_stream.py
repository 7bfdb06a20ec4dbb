"""JSON responses: the same bytes whether they are serialized at once or in slices."""

import asyncio

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond_server.http import json_stream
from millpond_server.http.array_encoding import Base64, to_base64
from millpond_server.http.json_stream import JSON_OPTIONS, SLICE_ITEMS, SLICE_VALUES, as_json, json_response, slices

LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=5))
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=3), inner, max_size=4)
)


@settings(deadline=None, max_examples=200)
@given(VALUES)
def test_slices_are_the_same_bytes_as_orjson(value):
    assert asyncio.run(as_json(value)) == orjson.dumps(value, option=JSON_OPTIONS)


@pytest.mark.parametrize(
    "count", [0, 1, SLICE_ITEMS - 1, SLICE_ITEMS, SLICE_ITEMS + 1, 2 * SLICE_ITEMS, 5 * SLICE_ITEMS + 7]
)
def test_vectors_are_written_the_same_in_slices(count):
    rows = list(np.random.default_rng(0).standard_normal((count, 7)).astype(np.float32))
    items = [{"index": index, "embedding": row} for index, row in enumerate(rows)]
    for value in (rows, {"data": items, "id": "x"}, {"embeddings": {"float": rows, 7: rows}, "ids": []}):
        assert asyncio.run(as_json(value)) == orjson.dumps(value, option=JSON_OPTIONS)


@pytest.mark.parametrize("shape", [(3, 70_000), (300, 500), (2, 300, 500), (1, 1), (0, 5), (70_000,)])
def test_large_arrays_are_written_the_same_in_slices(shape):
    array = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    item = {"index": 0, "data": array}
    for value in (array, [array], item, [item], [item] * 3, {"data": [item, {"index": 1}, item], "id": 5}, [[item], 5]):
        assert asyncio.run(as_json(value)) == orjson.dumps(value, option=JSON_OPTIONS)


def test_arrays_are_converted_to_base64_when_serialized():
    arrays = [np.full(3, number, dtype=np.float32) for number in range(200)]
    for count in (1, 200):
        lazy = {"data": [{"index": 0, "embedding": Base64(array, "float16")} for array in arrays[:count]]}
        plain = {"data": [{"index": 0, "embedding": to_base64(array, "float16")} for array in arrays[:count]]}
        assert asyncio.run(as_json(lazy)) == orjson.dumps(plain)
    with pytest.raises(TypeError):
        asyncio.run(as_json({"data": object()}))


def test_no_slice_of_lists_of_objects_has_many_more_than_take_a_moment():
    async def sizes():
        tokens = [[{"id": 1, "text": "a", "start": 0} for _ in range(2000)] for _ in range(30)]
        return [part.count(b",") async for part in slices(tokens)]

    assert max(asyncio.run(sizes())) <= SLICE_VALUES


def test_no_slice_has_many_more_numbers_than_take_a_moment():
    async def sizes():
        items = [{"data": np.zeros((512, 384), dtype=np.float32)} for _ in range(3)]
        return [part.count(b",") async for part in slices({"data": items})]

    assert max(asyncio.run(sizes())) <= SLICE_VALUES


async def stays():
    """The messages of a client that does not disconnect."""
    await asyncio.Event().wait()


def test_a_large_response_stops_when_its_client_disconnects(monkeypatch):
    monkeypatch.setattr(json_stream, "STREAM_ABOVE_BYTES", 1000)
    messages = []

    async def goes():
        return {"type": "http.disconnect"}

    async def answer():
        async def send(message):
            messages.append(message)

        response = await json_response({"data": [np.ones(1000, dtype=np.float32)] * 1000})
        await response({"type": "http"}, goes, send)

    asyncio.run(answer())
    assert len(messages) < 5


def test_a_large_answer_is_sent_in_parts_and_a_small_one_with_its_length(monkeypatch):
    monkeypatch.setattr(json_stream, "STREAM_ABOVE_BYTES", 100_000)

    async def sent(value):
        messages = []

        async def send(message):
            messages.append(message)

        response = await json_response(value)
        response.headers["x-more"] = "1"
        await response({"type": "http"}, stays, send)
        return messages

    for count, streamed in ((1, False), (1000, True)):
        value = {"data": [{"embedding": np.ones(100, dtype=np.float32)} for _ in range(count)]}
        head, *parts = asyncio.run(sent(value))
        assert (b"content-length" in dict(head["headers"])) != streamed
        assert dict(head["headers"])[b"content-type"] == b"application/json"
        assert dict(head["headers"])[b"x-more"] == b"1"
        assert b"".join(part["body"] for part in parts) == orjson.dumps(value, option=JSON_OPTIONS)
        assert not parts[-1].get("more_body")
        assert (len(parts) > 1) == streamed


@pytest.mark.slow
def test_other_requests_are_served_meanwhile():
    async def both():
        async def other():
            while not done.is_set():
                turns.append(1)
                await asyncio.sleep(0)

        turns, done = [], asyncio.Event()
        task = asyncio.ensure_future(other())
        await as_json({"data": [np.zeros(4, dtype=np.float32)] * (10 * SLICE_ITEMS)})
        done.set()
        await task
        return len(turns)

    assert asyncio.run(both()) >= 9
