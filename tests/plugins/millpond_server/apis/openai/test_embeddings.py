"""``POST /v1/embeddings`` over HTTP: the same numbers as ``LLM``, all encodings, and errors."""

import base64
import json

import numpy as np
import pytest

from millpond import LLM

TEXTS = ["a cup of tea", "the old mill by the pond", "tea"]


@pytest.fixture(scope="session")
def offline():
    with LLM("all-MiniLM-L6-v2") as llm:
        yield llm


@pytest.fixture(scope="session")
def expected(offline):
    return np.stack([output.outputs.array for output in offline.embed(TEXTS, use_tqdm=False)])


def ask(http, **body):
    return http.post("/v1/embeddings", json=body)


def test_the_response_has_openais_format_and_the_numbers_of_llm(http, offline, expected):
    body = ask(http, input=TEXTS, model="all-MiniLM-L6-v2").json()
    assert (body["object"], body["model"]) == ("list", "all-MiniLM-L6-v2")
    assert [item["index"] for item in body["data"]] == [0, 1, 2]
    np.testing.assert_allclose([item["embedding"] for item in body["data"]], expected, atol=1e-6)
    tokens = sum(output.num_prompt_tokens for output in offline.embed(TEXTS, use_tqdm=False))
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] == tokens


def test_base64_is_little_endian_float32(http, expected):
    data = ask(http, input=TEXTS, encoding_format="base64").json()["data"]
    decoded = [np.frombuffer(base64.b64decode(item["embedding"]), "<f4") for item in data]
    np.testing.assert_allclose(decoded, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "width", "tolerance"),
    [("float32", 4, 1e-6), ("float16", 2, 1e-3), ("bfloat16", 2, 4e-3), ("fp8_e4m3", 1, 0.1), ("fp8_e5m2", 1, 0.1)],
)
@pytest.mark.parametrize("endianness", ["little", "big", "native"])
def test_bytes_are_described_in_a_header(http, expected, dtype, width, tolerance, endianness):
    answer = ask(http, input=TEXTS, encoding_format="bytes", embed_dtype=dtype, endianness=endianness)
    metadata = json.loads(answer.headers["metadata"])
    assert [(item["start"], item["end"]) for item in metadata["data"]] == [
        (i * 384 * width, (i + 1) * 384 * width) for i in range(3)
    ]
    values = np.frombuffer(answer.content, np.uint8).reshape(-1, width)
    values = values[:, ::-1] if endianness == "big" else values
    np.testing.assert_allclose(decoded(values, dtype).reshape(3, 384), expected, atol=tolerance)


def test_the_header_of_bytes_may_name_a_model_in_any_script(local):
    with local(names=('模型 "é"',)).client() as client:
        answer = client.post("/v1/embeddings", json={"input": "tea", "encoding_format": "bytes"})
        assert answer.status_code == 200
        assert json.loads(answer.headers["metadata"])["model"] == '模型 "é"'


@pytest.mark.parametrize("path", ["/v1/embeddings", "/pooling"])
def test_inputs_are_limited_by_the_size_of_the_metadata_header(http, path):
    body = {"input": [[101, 1037, 102]] * 512, "encoding_format": "bytes"}
    answer = http.post(path, json=body)
    assert answer.status_code == 200
    assert len(answer.headers["metadata"]) < 2**16 - 2**10
    body["input"].append([101, 102])
    refused = http.post(path, json=body)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "encoding_format"
    assert http.post(path, json={**body, "encoding_format": "bytes_only"}).status_code == 200


def decoded(values, dtype):
    """Little-endian bytes, [count, width], as float32; written from the formats' definitions."""
    raw = np.ascontiguousarray(values)
    if dtype == "float32":
        return raw.view("<f4").ravel()
    if dtype == "float16":
        return raw.view("<f2").ravel().astype(np.float32)
    if dtype == "bfloat16":
        return (raw.view("<u2").ravel().astype(np.uint32) << 16).view(np.float32)
    exponent_bits = 4 if dtype == "fp8_e4m3" else 5
    mantissa_bits = 7 - exponent_bits
    bits = raw.ravel().astype(np.int64)
    sign, exponent = np.where(bits >> 7, -1.0, 1.0), (bits >> mantissa_bits) & (2**exponent_bits - 1)
    mantissa = (bits & (2**mantissa_bits - 1)) / 2**mantissa_bits
    bias = 2 ** (exponent_bits - 1) - 1
    return sign * np.where(exponent == 0, mantissa * 2.0 ** (1 - bias), (1 + mantissa) * 2.0 ** (exponent - bias))


def test_token_ids_are_one_input_or_many(http, offline):
    ids = offline.embed(TEXTS[0], use_tqdm=False)[0].prompt_token_ids
    one, same = ask(http, input=ids).json()["data"], ask(http, input=[ids, ids]).json()["data"]
    assert (len(one), len(same)) == (1, 2)
    np.testing.assert_allclose(one[0]["embedding"], same[1]["embedding"], atol=1e-6)


def test_nulls_count_as_missing_and_unknown_fields_are_ignored(http):
    answer = ask(http, input="tea", model=None, dimensions=None, user=None, late_chunking=True, modality="text")
    assert answer.status_code == 200


def test_full_size_is_always_allowed_and_another_is_refused(http):
    assert ask(http, input="tea", dimensions=384).status_code == 200
    refused = ask(http, input="tea", dimensions=128)
    assert refused.status_code == 400
    assert "does not support" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 400, "input"),
        ({"input": []}, 400, "at least one prompt"),
        ({"input": ""}, 400, "empty"),
        ({"input": 5}, 400, "input must be a text"),
        ({"input": ["a", 5]}, 400, r"input[1] must be a text"),
        ({"input": [1, 2, 30522]}, 400, "30522"),
        ({"input": [-1]}, 400, "-1"),
        ({"input": "a", "encoding_format": "hex"}, 400, "literal_error"),
        ({"input": "a", "model": "nope"}, 404, "The model `nope` does not exist"),
        ({"input": "a", "model": "../../etc/passwd"}, 404, "does not exist"),
        ({"input": "tea " * 600}, 400, "maximum context length"),
        ({"input": ["a"] * 2049}, 413, "list length"),
    ],
)
def test_invalid_requests_are_refused_in_a_format_of_many_clients(http, body, status, message):
    answer = ask(http, **body)
    refusal = answer.json()
    assert answer.status_code == refusal["error"]["code"] == status
    assert message in refusal["error"]["message"]
    assert refusal["detail"] == refusal["message"] == refusal["error"]["message"]
    assert refusal == {**refusal, **refusal["error"], "object": "error"}  # older versions of vLLM had no "error"


@pytest.mark.parametrize("raw", [b"", b"{", b'{"input": "\\ud800"}', b"[" * 5000, b'{"input": [1e400]}', b"\xff\xfe"])
def test_invalid_json_is_refused(http, raw):
    answer = http.post("/v1/embeddings", content=raw, headers={"content-type": "application/json"})
    assert answer.status_code == 400


def test_another_media_type_is_refused(http):
    answer = http.post("/v1/embeddings", content=b"input=a", headers={"content-type": "text/plain"})
    assert (answer.status_code, "Only 'application/json'" in answer.text) == (400, True)


def test_too_long_text_is_cut_on_request(http):
    body = ask(http, input="tea " * 600, truncate_prompt_tokens=-1).json()
    assert body["usage"]["prompt_tokens"] == 256


def test_models_are_listed(http):
    (card,) = http.get("/v1/models").json()["data"]
    assert (card["id"], card["object"], card["max_model_len"]) == ("all-MiniLM-L6-v2", "model", 256)
    assert http.get(f"/v1/models/{card['id']}").json()["id"] == card["id"]
    assert http.get("/v1/models/nope").status_code == 404


def test_health_routes_respond_with_200(http):
    assert (http.get("/health").status_code, http.get("/ping").status_code) == (200, 200)
    missing = http.get("/nope")
    assert (missing.status_code, missing.json()["detail"]) == (404, "Not Found")
    assert http.get("/v1/embeddings").status_code == 405


def test_a_conversation_is_one_input(http, expected):
    """MiniLM has no chat template: the contents are joined, one per line."""
    one = ask(http, input=None, messages=[{"role": "user", "content": TEXTS[0]}]).json()["data"]
    np.testing.assert_allclose([item["embedding"] for item in one], expected[:1], atol=1e-6)
    parts = [{"role": "user", "content": [{"type": "text", "text": text}]} for text in TEXTS]
    many = ask(http, messages=[[part] for part in parts]).json()["data"]
    np.testing.assert_allclose([item["embedding"] for item in many], expected, atol=1e-6)
    inside = ask(http, input=[[part] for part in parts]).json()["data"]
    np.testing.assert_allclose([item["embedding"] for item in inside], expected, atol=1e-6)
    lines = ask(http, messages=parts).json()["data"]
    joined = ask(http, input="\n".join(TEXTS)).json()["data"]
    np.testing.assert_allclose(lines[0]["embedding"], joined[0]["embedding"], atol=1e-6)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"messages": [], "input": None}, "at least one prompt"),
        ({"messages": [{"role": "user"}]}, "'content' must be a text"),
        ({"messages": [{"content": "a"}]}, "'role'"),
        ({"messages": ["a"]}, "'role'"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "type text"),
        ({"messages": [{"role": "user", "content": "a"}], "input": "a"}, "both given"),
        ({"messages": [{"role": "user", "content": "a"}], "chat_template": "{{ 1 }}"}, "untrusted chat template"),
        (
            {"messages": [{"role": "user", "content": "a"}], "chat_template_kwargs": {"chat_template": "{{ 1 }}"}},
            "untrusted chat template",
        ),
        ({"messages": [{"role": "user", "content": "a"}], "chat_template_kwargs": {"tokenize": True}}, "'tokenize'"),
        (
            {
                "messages": [{"role": "user", "content": "a"}],
                "add_generation_prompt": True,
                "continue_final_message": True,
            },
            "Cannot set both",
        ),
    ],
)
def test_conversations_that_do_not_fit_are_refused(http, body, message):
    answer = ask(http, **body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]


def test_texts_without_special_tokens(http):
    bare = ask(http, input="tea", add_special_tokens=False).json()
    assert (bare["usage"]["prompt_tokens"], ask(http, input="tea").json()["usage"]["prompt_tokens"]) == (1, 3)
