"""The server's pages: OpenAPI 3.1 built from its routes, the page that renders it, and ``/invocations``."""

import json
import re

import numpy as np
import pytest

from millpond.plugin.manager import get_plugin_manager
from millpond_http.kinds import RouteSpec


@pytest.fixture(scope="session")
def described(minilm_server):
    with minilm_server.client() as client:
        return client.get("/openapi.json").json()


def references(value):
    if isinstance(value, dict):
        yield from ([value["$ref"]] if isinstance(value.get("$ref"), str) else [])
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_route_is_described_once(described):
    assert described["openapi"] == "3.1.0"
    names = {f"{method.upper()} {path}" for path, methods in described["paths"].items() for method in methods}
    all_names = {re.sub(r":path\}", "}", name) for name in get_plugin_manager().registry[RouteSpec].names()}
    assert names <= all_names
    assert {"POST /v1/embeddings", "POST /rerank", "POST /infinity/rerank", "GET /v1/models/{id}"} <= names
    assert "POST /classify" not in names  # MiniLM knows no classes
    ids = [operation["operationId"] for methods in described["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))


def test_every_reference_leads_somewhere(described):
    schemas = described["components"]["schemas"]
    names = set(references(described))
    assert names
    assert {reference.removeprefix("#/components/schemas/") for reference in names} <= set(schemas)


def test_fields_are_described_with_their_limits(described):
    fields = described["components"]["schemas"]["EmbeddingRequest"]["properties"]
    assert fields["encoding_format"]["enum"] == ["float", "base64", "bytes", "bytes_only"]
    assert "minimum" in json.dumps(fields["dimensions"])
    assert "security" not in described


def test_the_page_needs_nothing_from_elsewhere(http):
    page, script = http.get("/docs"), http.get("/docs.js")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", page.text + script.text)
    assert 'src="docs.js"' in page.text


def test_invocations_find_the_route_of_a_body(http):
    vector = http.post("/v1/embeddings", json={"input": "tea"}).json()["data"][0]["embedding"]
    invoked = http.post("/invocations", json={"input": "tea"}).json()["data"][0]["embedding"]
    np.testing.assert_allclose(invoked, vector, atol=1e-6)
    ranks = http.post("/invocations", json={"query": "tea", "documents": ["rain", "tea"]}).json()["results"]
    assert [rank["index"] for rank in ranks] == [1, 0]
    scores = http.post("/invocations", json={"text_1": "tea", "text_2": "tea"}).json()["data"]
    assert scores[0]["score"] == pytest.approx(1, abs=1e-5)
    refused = http.post("/invocations", json={"prompt": "tea"})
    assert refused.status_code == 400
    assert "the body matches no route" in refused.json()["detail"]


def test_the_first_page_lists_models_and_links_that_work(minilm_server):
    with minilm_server.client() as client:
        page = client.get("/", headers={"accept": "text/html"})
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert client.get("/v1/models").json()["data"][0]["id"] in page.text
        links = re.findall(r'href="([^"]+)"', page.text)
        assert links == ["playground", "docs", "openapi.json", "v1/models", "health", "metrics"]
        assert all(client.get(f"/{link}").status_code == 200 for link in links)


def test_names_of_models_are_escaped_on_the_first_page():
    from types import SimpleNamespace

    from millpond_server.apis.pages import _index

    served = SimpleNamespace(names=("<script>{metrics}",), llm=SimpleNamespace(supported_tasks=("embed",)))
    page = _index(SimpleNamespace(served=[served]), {"playground": "", "metrics": ""}).decode()
    assert "&lt;script&gt;{metrics}" in page
    assert "<script>" not in page
