"""Images over HTTP with a tiny CLIP: the same numbers as ``LLM`` on all routes that accept them, and errors."""

import numpy as np
import pytest
from PIL import Image

from millpond import LLM, PoolingParams
from millpond.testing.pictures import file_of, picture, url_of
from millpond_models.testing.dual_encoders import tiny_dual_encoder

PICTURE = picture(40, 30)
BOTH = "CLIP accepts text-only or image-only inputs, not both!"


URL = url_of(PICTURE)
ENCODED = URL.partition(",")[2]
IMAGE = {"type": "image_url", "image_url": {"url": URL}}
TEXT = {"type": "text", "text": "water"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_dual_encoder("CLIPModel", tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def offline(folder):
    with LLM(str(folder), num_workers=1) as llm:
        yield llm


@pytest.fixture(scope="module")
def allowed(tmp_path_factory):
    path = tmp_path_factory.mktemp("allowed")
    (path / "a.png").write_bytes(file_of(PICTURE))
    return path


@pytest.fixture(scope="module")
def server(serving, folder, allowed):
    arguments = ["--max-images", "3", "--allowed-local-media-path", str(allowed)]
    arguments += ["--allowed-media-domains", "localhost", "*.within.test", "--served-model-name", "tiny-clip"]
    with serving(str(folder), *arguments) as running:
        yield running


@pytest.fixture
def http(server):
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def vectors(offline):
    """The vectors of the text, the image, and both."""
    both = {"prompt": "water", "multi_modal_data": {"image": PICTURE}}
    params = PoolingParams(extra_kwargs={"mixed_modality": "mean"})
    outputs = offline.embed(["water", {"multi_modal_data": {"image": PICTURE}}, both], pooling_params=params)
    return [output.outputs.array for output in outputs]


def refused(answer, status=400):
    assert answer.status_code == status, answer.text
    return answer.json()["error"]["message"]


def close(actual, expected):
    np.testing.assert_allclose(np.array(actual), np.array(expected), atol=1e-6)


def message(*parts):
    return [{"role": "user", "content": list(parts)}]


def test_messages_of_openai(http, vectors):
    for messages, index in ((message(IMAGE), 1), (message(TEXT), 0)):
        body = http.post("/v1/embeddings", json={"messages": messages}).json()
        close(body["data"][0]["embedding"], vectors[index])
    assert body["usage"]["prompt_tokens"] == 3
    several = http.post("/v1/embeddings", json={"messages": [message(TEXT), message(IMAGE)]}).json()
    close([item["embedding"] for item in several["data"]], vectors[:2])
    assert several["usage"]["prompt_tokens"] == 3 + 17
    pooled = http.post("/pooling", json={"messages": message(IMAGE), "task": "token_embed"}).json()
    assert np.array(pooled["data"][0]["data"]).shape == (17, 16)


def test_objects_of_jina(http, vectors):
    inputs = [{"text": "water"}, {"image": URL}, {"image": ENCODED}, "water"]
    body = http.post("/v1/embeddings", json={"input": inputs}).json()
    close([item["embedding"] for item in body["data"]], [vectors[0], vectors[1], vectors[1], vectors[0]])


def test_objects_of_jina_with_both(http):
    both = {"text": "water", "image": URL}
    assert BOTH in refused(http.post("/v1/embeddings", json={"input": [both]}))
    for field in ("text", "image"):
        answer = http.post("/v1/embeddings", json={"input": [both | {field: None}]})
        assert len(answer.json()["data"]) == 1
    assert "must be a text or" in refused(http.post("/v1/embeddings", json={"input": [both | {"image": 7}]}))


def test_errors_contain_the_served_name_of_the_model(http, folder):
    part = {"type": "video_url", "video_url": {"url": "x"}}
    for path, body in (("/v1/embeddings", {"messages": message(part)}), ("/embed", {"inputs": "water " * 200})):
        answer = http.post(path, json={**body, "truncate": False})
        assert answer.status_code in (400, 422)
        assert str(folder) not in answer.text
    assert "'tiny-clip'" in http.post("/v1/embeddings", json={"messages": message(part)}).json()["error"]["message"]


def test_images_of_cohere(http, vectors):
    body = http.post("/v2/embed", json={"images": [URL, URL], "input_type": "image", "embedding_types": ["float"]})
    close(body.json()["embeddings"]["float"], [vectors[1]] * 2)
    assert body.json()["texts"] == []
    assert body.json()["meta"]["billed_units"] == {"input_tokens": 0, "image_tokens": 34, "images": 2}
    close(http.post("/v1/embed", json={"images": [URL]}).json()["embeddings"], [vectors[1]])


def test_inputs_of_cohere(http, vectors):
    inputs = [{"content": [TEXT]}, {"content": [IMAGE]}, {"content": [{"type": "image_url", "image_url": URL}]}]
    body = http.post("/v2/embed", json={"inputs": inputs}).json()
    close(body["embeddings"]["float"], [vectors[0], vectors[1], vectors[1]])
    assert body["meta"]["billed_units"] == {"input_tokens": 3, "image_tokens": 34, "images": 2}


def test_a_text_and_an_image_in_one_input(http, vectors):
    body = {"inputs": [{"content": [TEXT, IMAGE]}], "embedding_types": ["float"]}
    for mixed in ({}, {"mixed": "mean"}):  # the mean is the default of Cohere's API
        close(http.post("/v2/embed", json={**body, **mixed}).json()["embeddings"]["float"], [vectors[2]])
    assert BOTH in refused(http.post("/v2/embed", json={**body, "mixed": "error"}))
    body = {"messages": message(TEXT, IMAGE)}
    assert BOTH in refused(http.post("/v1/embeddings", json=body))
    close(http.post("/v1/embeddings", json={**body, "mixed": "mean"}).json()["data"][0]["embedding"], vectors[2])
    assert "mixed" in refused(http.post("/v1/embeddings", json={**body, "mixed": "sum"}))


def test_files_are_read_below_the_folder_that_is_allowed(http, allowed, vectors):
    body = http.post("/v2/embed", json={"images": [f"file://{allowed}/a.png"]}).json()
    close(body["embeddings"]["float"], [vectors[1]])
    for url in ("file:///etc/passwd", f"file://{allowed}/../a.png", f"file://{allowed}/none.png"):
        assert "the file may not be read" in refused(http.post("/v2/embed", json={"images": [url]}))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://169.254.169.254/latest/meta-data/", "may not be fetched from the host '169.254.169.254'"),
        ("https://example.org/a.png", "may not be fetched from the host 'example.org'"),
        ("http://127.0.0.1:8000/health", "may not be fetched from the host '127.0.0.1'"),
        ("http://localhost/a.png", "its host is not on the public internet"),
        ("http://localhost:8000/a.png", "from the ports 80"),
        ("http://a\\@b/", "the URL of an image must be"),
        ("ftp://example.org/a.png", "must begin with data:image"),
        ("/etc/passwd", "is not valid base64"),
        ("data:image/png;base64,AAAA", "damaged, or its format is not one of"),
        ("data:text/html;base64,AAAA", "must begin with data:image"),
    ],
)
def test_urls_that_are_not_allowed_are_not_fetched(http, url, expected):
    for path, body in (
        ("/v2/embed", {"images": [url]}),
        ("/v1/embeddings", {"input": [{"image": url}]}),
        ("/v1/embeddings", {"messages": message({"type": "image_url", "image_url": {"url": url}})}),
    ):
        if "messages" in body and url.startswith("/"):
            expected = "must begin with data:image"
        assert expected in refused(http.post(path, json=body))


def test_too_many_images_are_refused_before_any_is_read(http):
    none = ["data:image/png;base64,AAAA"] * 4
    for path, body in (
        ("/v2/embed", {"images": none}),
        ("/v2/embed", {"inputs": [{"content": [IMAGE]}] * 4}),
        ("/v1/embeddings", {"input": [{"image": url} for url in none]}),
        ("/v1/embeddings", {"messages": [message(IMAGE)] * 4}),
        ("/v1/embeddings", {"messages": message(*[IMAGE] * 4)}),
    ):
        assert "4 images; a request may contain at most 3" in refused(http.post(path, json=body), 413)
    assert "At most 1 image(s)" in refused(http.post("/v1/embeddings", json={"messages": message(IMAGE, IMAGE)}))


@pytest.mark.parametrize(
    "held", [None, 7, [], {}, {"url": None}, {"url": 7}, {"url": {"url": URL}}, {"path": "/etc/passwd"}, [URL, URL]]
)
def test_a_part_that_holds_no_url_is_refused(http, held):
    part = {"type": "image_url", "image_url": held}
    for kind in ("image_url", "image_pil"):
        messages = message({"type": kind, kind: held})
        refused(http.post("/v1/embeddings", json={"messages": messages}))
    refused(http.post("/v2/embed", json={"inputs": [{"content": [part]}]}))


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (16, 1)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "1", "I;16"])
def test_odd_images_are_served(http, size, mode):
    url = url_of(Image.new(mode, size))
    embeddings = http.post("/v2/embed", json={"images": [url]}).json()["embeddings"]["float"]
    assert np.isfinite(embeddings).all()
