"""Tests of POST /v1/addon_name, over HTTP."""

import pytest
from millpond.testing.checkpoints import tiny
from millpond.testing.conformance import RecordConformance
from millpond_server.testing import running_server


class TestAddonNameRoute(RecordConformance):
    """The requirements of the route's record."""

    kind = "route"
    name = "POST /v1/addon_name"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A running server with a tiny model."""
    model = tiny("BertModel", tmp_path_factory.mktemp("model"))
    with running_server(model, routes=["addon_name"]) as server:
        yield server


def test_equal_texts_have_the_similarity_one(server):
    """The matrix has one row per text."""
    response = server.request("POST", "/v1/addon_name", json={"texts": ["tea", "tea"]})
    assert response.status == 200
    assert response.json()["similarities"] == [pytest.approx([1, 1])] * 2


def test_an_empty_list_is_refused(server):
    """The limits are those of the request's model."""
    assert server.request("POST", "/v1/addon_name", json={"texts": []}).status == 400
