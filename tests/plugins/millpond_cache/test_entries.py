"""Keys of cached results, which differ if anything differs that can change a result, and the bytes of entries."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from millpond import PoolingParams
from millpond.engine.request import PoolingRequest, Representation
from millpond_cache.entries import KeyBuilder, decode_entry, encode_entry

KEY = bytes(32)
IDS = np.array([1, 2, 3], dtype=np.int64)


@dataclass
class Grid:
    rows: int


def request(**fields):
    representations = (Representation("embed", PoolingParams()),)
    return PoolingRequest(**{"input_ids": IDS, "representations": representations, **fields})


def pooled(*tasks, span=None, **params):
    return request(representations=tuple(Representation(task, PoolingParams(**params), span) for task in tasks))


DIFFERENT = {
    "the same": request(),
    "other ids": request(input_ids=IDS + 1),
    "fewer ids": request(input_ids=IDS[:2]),
    "token types": request(token_type_ids=np.zeros(3, np.int64)),
    "other token types": request(token_type_ids=np.ones(3, np.int64)),
    "a route": request(route="query"),
    "another task": pooled("token_embed"),
    "two tasks": pooled("embed", "token_embed"),
    "two tasks in another order": pooled("token_embed", "embed"),
    "a span": pooled("embed", span=(0, 2)),
    "another span": pooled("embed", span=(1, 2)),
    "dimensions": pooled("embed", dimensions=8),
    "no activation": pooled("embed", use_activation=False),
    "an activation": pooled("embed", use_activation=True),
    "an adapter": pooled("embed", adapter="a"),
    "a step tag": pooled("embed", step_tag_id=1),
    "columns": pooled("embed", returned_token_ids=(1, 2)),
    "late chunking": pooled("embed", late_chunking_params={"chunk_size": 2}),
    "an option": pooled("embed", extra_kwargs={"top": 1}),
    "an option of another type": pooled("embed", extra_kwargs={"top": 1.0}),
    "an option that is a text": pooled("embed", extra_kwargs={"top": "1"}),
    "pixels": request(features={"pixels": torch.zeros(2, 3)}),
    "other pixels": request(features={"pixels": torch.ones(2, 3)}),
    "pixels of another shape": request(features={"pixels": torch.zeros(3, 2)}),
    "pixels of another dtype": request(features={"pixels": torch.zeros(2, 3, dtype=torch.bfloat16)}),
    "an array": request(features={"pixels": np.zeros((2, 3), np.float32)}),
    "another name": request(features={"grid": torch.zeros(2, 3)}),
    "nested values": request(features={"grid": [(1, 2), (3,)]}),
    "other nested values": request(features={"grid": [(1,), (2, 3)]}),
    "a dataclass": request(features={"grid": Grid(1)}),
    "another dataclass": request(features={"grid": Grid(2)}),
    "a flag": request(features={"grid": True}),
    "a number": request(features={"grid": 1}),
}


def key_of(one, fingerprint="model", owner=b"", **more):
    (key,) = KeyBuilder(fingerprint, **more).keys([one], owner)
    return key


def test_every_setting_that_can_change_a_result_changes_the_key():
    keys = {name: key_of(one) for name, one in DIFFERENT.items()}
    assert all(isinstance(key, bytes) and len(key) == 32 for key in keys.values())
    assert len(set(keys.values())) == len(keys)


def test_equal_sequences_have_equal_keys():
    assert [key_of(replace(one)) for one in DIFFERENT.values()] == [key_of(one) for one in DIFFERENT.values()]
    assert KeyBuilder("model").keys(list(DIFFERENT.values()), b"") == [key_of(one) for one in DIFFERENT.values()]


@pytest.mark.parametrize("dtype", [np.int32, np.uint16, np.int64])
def test_the_integer_type_of_ids_is_not_part_of_the_key(dtype):
    short = np.array([1], np.int64)
    assert key_of(request(input_ids=IDS.astype(dtype))) == key_of(request())
    assert key_of(request(input_ids=short.view(dtype))) != key_of(request(input_ids=short)) or dtype is np.int64


def test_models_and_owners_have_different_keys():
    assert len({key_of(request(), model, owner) for model in ("a", "b") for owner in (b"", b"x", b"y")}) == 6
    assert key_of(request(), "ab", b"c") != key_of(request(), "a", b"bc")


TOKENS_ONLY = {"truncate_prompt_tokens": 3, "prompt": "x", "prompt_name": "query", "on_overflow": "truncate"}


@pytest.mark.parametrize("name", TOKENS_ONLY)
def test_fields_that_only_change_the_tokens_are_not_in_the_key(name):
    one = pooled("embed", **{name: TOKENS_ONLY[name]})
    assert key_of(one) == key_of(request())
    assert key_of(one, all_fields=True) != key_of(request(), all_fields=True), "a plugin may read any field"


@pytest.mark.parametrize("value", [object(), {1, 2}, np.array([object()]), lambda: None])
def test_a_value_without_canonical_bytes_has_no_key(value):
    assert key_of(request(features={"x": [value]})) is None
    assert key_of(pooled("embed", extra_kwargs={"x": value})) is None


shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)
arrays = hnp.arrays(st.sampled_from([np.float32, np.float16, np.int8, np.uint8, np.int64]), shapes)


@given(st.lists(arrays, max_size=3), st.integers(0, 10**6))
def test_an_entry_has_the_bits_of_its_arrays_unless_it_is_damaged(originals, position):
    entry = encode_entry(KEY, originals)
    decoded = decode_entry(KEY, entry)
    assert [(it.dtype, it.shape, it.tobytes()) for it in decoded] == [
        (it.dtype, it.shape, it.tobytes()) for it in originals
    ]
    assert all(it.flags.writeable and it.base is None for it in decoded)
    damaged = bytearray(entry)
    damaged[position % len(entry)] ^= 1 + position % 255
    assert decode_entry(KEY, bytes(damaged)) is None
    assert decode_entry(KEY, entry[: position % len(entry)]) is None
