"""``/pooling`` returns the output of an IO processor plugin: bytes and arrays in JSON, or raw."""

import base64
import io
import threading

import numpy as np
import pytest
from named_outputs import PNG, maker_of, marked

from millpond.plugin.manager import PluginManager
from millpond_server.apis.vllm.plugin_output import accept_qualities
from millpond_server.testing import running_server

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3).T  # not contiguous
RAW = "application/octet-stream"
OUTPUTS = {
    "bytes": PNG,
    "array": ARRAY,
    "float16": ARRAY.astype(np.float16),
    "nested": {"masks": [PNG, {"scores": ARRAY}], "count": np.int64(2)},
    "none": None,
    "lock": threading.Lock(),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    from millpond.testing.checkpoints import tiny

    plugins = PluginManager()
    plugins.register(maker_of(OUTPUTS))
    folder = tiny("BertModel", tmp_path_factory.mktemp("tiny") / "model")
    with running_server(folder, plugins=plugins, arguments={"io_processor_plugin": "maker"}) as running:
        yield running


def ask(server, name, accept=None, **fields):
    headers = {} if accept is None else {"accept": accept}
    return server.request("POST", "/pooling", json={"data": name, **fields}, headers=headers)


def data_of(answer):
    assert answer.status == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"request_id", "created_at", "data"}
    return body["data"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bytes", marked(PNG)),
        ("array", ARRAY.tolist()),
        ("float16", ARRAY.tolist()),
        ("nested", {"masks": [marked(PNG), {"scores": ARRAY.tolist()}], "count": 2}),
        ("none", None),
    ],
)
def test_bytes_and_arrays_are_sent_as_json(server, name, expected):
    assert data_of(ask(server, name)) == expected


def test_arrays_are_sent_as_base64_with_their_dtype_and_shape(server):
    tagged = data_of(ask(server, "nested", encoding_format="base64"))["masks"][1]["scores"]
    assert (tagged["type"], tagged["dtype"], tagged["shape"]) == ("ndarray", "float32", [3, 2])
    values = np.frombuffer(base64.b64decode(tagged["base64"]), dtype="<f4").reshape(3, 2)
    np.testing.assert_array_equal(values, ARRAY)


def test_bytes_are_sent_raw(server):
    for answer in (ask(server, "bytes", accept=RAW), ask(server, "bytes", encoding_format="bytes")):
        assert (answer.status, answer.headers["content-type"], answer.content) == (200, RAW, PNG)


def test_an_array_is_sent_raw_as_a_file_of_numpy(server):
    answer = ask(server, "array", accept=f"{RAW}, application/json;q=0.5")
    assert (answer.status, answer.headers["content-type"]) == (200, RAW)
    np.testing.assert_array_equal(np.load(io.BytesIO(answer.content)), ARRAY)


def test_more_than_bytes_is_refused_raw_and_sent_as_json_where_that_is_accepted(server):
    refused = ask(server, "nested", accept=RAW)
    assert refused.status == 406
    assert "the IO processor returned dict" in refused.json()["message"]
    assert data_of(ask(server, "nested", accept=f"{RAW}, */*;q=0.1"))["count"] == 2


def test_an_output_that_is_not_json_serializable_is_logged(server, caplog):
    answer = ask(server, "lock")
    assert answer.status == 500
    assert "it is a _thread.lock, which has no JSON representation" in caplog.text


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", (1, 1)),
        ("*/*", (1, 1)),
        (RAW, (1, 0)),
        ("application/json", (0, 1)),
        ("application/*;q=0.5, application/json", (0.5, 1)),
        ("text/html, */*;q=0.8", (0.8, 0.8)),
        (f"{RAW};q=x", (1, 0)),
    ],
)
def test_accept_is_read_with_its_qualities(header, expected):
    assert accept_qualities(header) == expected
