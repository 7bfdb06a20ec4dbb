"""The space of embeddings over HTTP: the header, ``/v1/models``, and requests that expect a space."""

import pytest

from millpond import LLM
from millpond.testing.checkpoints import tiny

ROUTES = {
    "/v1/embeddings": {"input": "a mill"},
    "/pooling": {"input": "a mill", "task": "embed"},
    "/v2/embed": {"texts": ["a mill"], "input_type": "search_query", "embedding_types": ["float"]},
    "/embed": {"inputs": "a mill"},
    "/": {"inputs": "a mill"},
    "/invocations": {"input": "a mill"},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("space")
    classes = tiny("BertForSequenceClassification", root / "classes")
    return {"vectors": str(tiny("BertModel", root / "vectors", is_matryoshka=True)), "classes": str(classes)}


@pytest.fixture(scope="module")
def space(folders):
    with LLM(folders["vectors"], num_workers=1) as llm:
        return llm.space


def answer(post, path, headers=None, **body):
    return post.runner.run(post.client.post(path, json=body, headers=headers))


@pytest.mark.parametrize("path", ROUTES)
def test_embedding_routes_state_and_check_the_space(post, space, path):
    response = answer(post, path, expect_space=space.id, **ROUTES[path])
    assert (response.status_code, response.headers["x-millpond-space"]) == (200, space.id)
    assert answer(post, path, expect_space="0" * 16, **ROUTES[path]).status_code == 409


def test_a_descriptor_leads_to_an_error_in_words(post, space):
    there = {**space.settings, "query prompt": "query: "}
    body = {"input": "a mill", "expect_space": {"space_id": "0" * 16, "settings": there}}
    error = post("/v1/embeddings", 409, **body)["error"]
    assert "the query prompt differs: '' here, 'query: ' there" in error["message"]
    assert (error["type"], error["param"]) == ("ConflictError", "expect_space")


def test_the_header_may_state_the_expected_space(post, space):
    expected = {"x-millpond-expect-space": space.id}
    assert answer(post, "/v1/embeddings", expected, input="a mill").status_code == 200
    response = answer(post, "/v1/embeddings", {"x-millpond-expect-space": "0" * 16}, input="a mill")
    assert response.status_code == 409
    assert answer(post, "/classify", expected, input="a mill", model="classes").status_code == 409


def test_dimensions_of_a_request_change_its_space(post, space):
    response = answer(post, "/v1/embeddings", input="a mill", dimensions=8)
    assert response.headers["x-millpond-space"] == space.of_call(dimensions=8).id != space.id
    message = post("/v1/embeddings", 409, input="a mill", dimensions=8, expect_space=space.descriptor)["message"]
    assert message.endswith("the number of dimensions differs: 8 here, 32 there")


@pytest.mark.parametrize("dimensions", [[0], {"a": 1}, "8", True])
def test_invalid_dimensions_are_an_invalid_request(post, space, dimensions):
    body = {"input": "a mill", "expect_space": space.id, "dimensions": dimensions}
    for path in ("/v1/embeddings", "/invocations"):
        assert answer(post, path, **body).status_code == 400


def test_an_invalid_descriptor_is_an_invalid_request(post):
    assert post("/v1/embeddings", 400, input="a mill", expect_space={})["param"] == "expect_space"


def test_models_have_the_id_of_their_space(post, space):
    vectors, classes = post("/v1/models")["data"]
    assert (vectors["space_id"], classes["space_id"]) == (space.id, None)


def test_a_model_whose_files_changed_still_embeds(application, tmp_path):
    with application({"vectors": str(tiny("BertModel", tmp_path / "model"))}) as post:
        (tmp_path / "model" / "model.safetensors").unlink()
        response = answer(post, "/v1/embeddings", input="a mill")
        assert (response.status_code, "x-millpond-space" in response.headers) == (200, False)
