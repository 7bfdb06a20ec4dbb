"""Tests of POST /v1/addon_name, over HTTP."""

import httpx
import pytest
from millpond.testing.checkpoints import tiny
from millpond.testing.conformance import RecordConformance
from millpond_server.testing import running_server


class TestAddonNameRoute(RecordConformance):
    """The requirements of the route's record."""

    kind = "route"
    name = "POST /v1/addon_name"


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """A client of a running server."""
    model = tiny("BertModel", tmp_path_factory.mktemp("model"))
    with running_server(model, routes=["addon_name"]) as server, httpx.Client(base_url=server.url) as client:
        yield client


def test_equal_texts_have_the_similarity_one(client):
    """The matrix has one row per text."""
    response = client.post("/v1/addon_name", json={"texts": ["tea", "tea"]})
    assert response.status_code == 200
    assert response.json()["similarities"] == [pytest.approx([1, 1])] * 2


def test_an_empty_list_is_refused(client):
    """The limits are those of the request's model."""
    assert client.post("/v1/addon_name", json={"texts": []}).status_code == 400
