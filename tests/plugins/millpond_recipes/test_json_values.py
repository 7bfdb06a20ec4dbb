"""The output of an IO processor as JSON values: bytes and arrays at any depth."""

import base64
import json
import threading
from dataclasses import dataclass
from datetime import date
from enum import Enum
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch
from pydantic import BaseModel

from millpond.types.outputs import EmbeddingOutput, SparseEmbeddingOutput
from millpond_recipes.json_values import PIECE_BYTES, tagged_array, to_json_values


def marked(content):
    return {"type": "bytes", "base64": base64.b64encode(content).decode()}


class Kind(Enum):
    CLOUD = "cloud"


@dataclass
class Mask:
    png: bytes
    size: tuple


class Box(BaseModel):
    corner: list
    crop: bytes


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"\x00\xff", marked(b"\x00\xff")),
        (bytearray(b"ab"), marked(b"ab")),
        (memoryview(b"ab"), marked(b"ab")),
        ({"masks": [b"a", {"b": (b"c",)}]}, {"masks": [marked(b"a"), {"b": [marked(b"c")]}]}),
        (MappingProxyType({1: b"a"}), {"1": marked(b"a")}),
        (Mask(b"a", (2, 3)), {"png": marked(b"a"), "size": [2, 3]}),
        (Box(corner=[np.float32(0.5)], crop=b"a"), {"corner": [0.5], "crop": marked(b"a")}),
        (np.arange(4, dtype=np.int16).reshape(2, 2), [[0, 1], [2, 3]]),
        (np.array(2.5), 2.5),
        (np.array([b"a", b"b"], dtype=object), [marked(b"a"), marked(b"b")]),
        (np.array([b"a"]), [marked(b"a")]),
        (np.array(["a"]), ["a"]),
        (np.array(["2026-11-22"], dtype="M8[D]"), ["2026-11-22"]),
        (torch.tensor([1.5, 2.0], dtype=torch.bfloat16), [1.5, 2.0]),
        (EmbeddingOutput(np.array([1.0, 2.0])), [1.0, 2.0]),
        (SparseEmbeddingOutput(np.array([0.0, 2.0])), {"indices": [1], "values": [2.0]}),
        ([np.int64(3), np.bool_(True), None, "é", 1.5], [3, True, None, "é", 1.5]),
        ([Kind.CLOUD, Path("a"), date(2026, 11, 22)], ["cloud", "a", "2026-11-22"]),
    ],
)
def test_values_become_json(value, expected):
    converted = to_json_values(value)
    assert converted == expected
    assert json.loads(json.dumps(converted)) == expected


def test_an_array_may_be_tagged_with_its_dtype_and_shape():
    array = np.arange(6, dtype=">f4").reshape(2, 3).T
    converted = to_json_values({"a": [array]}, array=tagged_array)["a"][0]
    assert (converted["type"], converted["dtype"], converted["shape"]) == ("ndarray", "float32", [3, 2])
    values = np.frombuffer(base64.b64decode(converted["base64"]), dtype="<f4").reshape(converted["shape"])
    np.testing.assert_array_equal(values, array)


def test_long_bytes_are_encoded_in_pieces_to_the_same_text():
    content = bytes(range(256)) * (PIECE_BYTES // 128)
    assert to_json_values(content) == marked(content)


def circle():
    nested = []
    nested.append(nested)
    return nested


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), r"it is a builtins\.object, which has no JSON representation"),
        ({"a": [1, {1, 2}]}, r"a\[1\] is a builtins\.set"),
        ([threading.Lock()], r"\[0\] is a _thread\.lock"),
        (np.array([1j]), r"it is a numpy\.ndarray of complex128"),
        ({"a": {(1, 2): 3}}, r"a has a key of type tuple: keys must be text"),
        (circle(), r"nested too deeply, or contains itself"),
    ],
)
def test_the_error_names_a_value_that_json_cannot_represent(value, message):
    with pytest.raises(TypeError, match=message):
        to_json_values(value)
