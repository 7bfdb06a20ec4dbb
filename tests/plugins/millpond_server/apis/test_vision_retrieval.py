"""Pages and queries of ColPali models over HTTP: token vectors, and scores of pages for a query."""

import numpy as np
import pytest

from millpond import LLM
from millpond.testing.pictures import picture, url_of
from millpond_transformers.testing.vision_retrieval import tiny_vision_retrieval

PAGE = picture(60, 90)
QUERY = "where is the mill?"


def message(*parts):
    return [{"role": "user", "content": list(parts)}]


IMAGE, TEXT = {"type": "image_url", "image_url": {"url": url_of(PAGE)}}, {"type": "text", "text": QUERY}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tiny_vision_retrieval("ColQwen2ForRetrieval", tmp_path_factory.mktemp("pages") / "colqwen2"))


@pytest.fixture(scope="module")
def post(folder, application):
    with application({"colqwen2": folder}) as call:
        yield call


@pytest.fixture(scope="module")
def offline(folder):
    with LLM(folder, num_workers=1) as llm:
        yield llm


def vectors(llm, prompt, **more):
    (output,) = llm.encode([prompt], pooling_task="token_embed", use_tqdm=False, **more)
    return output.outputs.array


def test_a_page_and_a_query_get_the_vectors_that_they_get_offline(post, offline):
    page = vectors(offline, {"multi_modal_data": {"image": PAGE}})
    asked = {"model": "colqwen2", "task": "token_embed"}
    for more in ({}, {"input_type": "document"}):
        body = post("/pooling", messages=message(IMAGE), **asked, **more)
        np.testing.assert_allclose(body["data"][0]["data"], page, atol=1e-5)
    query = vectors(offline, QUERY, input_type="query")
    assert query.shape != vectors(offline, QUERY).shape
    for body in (
        post("/pooling", messages=message(TEXT), input_type="query", **asked),
        post("/pooling", input=[QUERY], input_type="query", **asked),
    ):
        np.testing.assert_allclose(body["data"][0]["data"], query, atol=1e-5)


def test_pages_are_ranked_for_a_query(post, offline):
    pages = [PAGE, PAGE.rotate(90), PAGE.resize((30, 200))]
    query = vectors(offline, QUERY, input_type="query")
    scores = [
        float((query @ vectors(offline, {"multi_modal_data": {"image": page}}).T).max(axis=1).sum()) for page in pages
    ]
    documents = [{"content": [{"type": "image_url", "image_url": {"url": url_of(page)}}]} for page in pages]
    body = post("/rerank", model="colqwen2", query=QUERY, documents=documents)
    assert [item["index"] for item in body["results"]] == np.argsort(scores)[::-1].tolist()
    assert [item["relevance_score"] for item in body["results"]] == pytest.approx(
        sorted(scores, reverse=True), abs=1e-4
    )


def test_a_page_with_an_additional_text_is_refused(post):
    body = post("/pooling", 400, model="colqwen2", task="token_embed", messages=message(IMAGE, TEXT))
    assert "one image or one text per prompt" in body["error"]["message"]
