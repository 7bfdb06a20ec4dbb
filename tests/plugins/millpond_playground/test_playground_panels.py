"""Each panel of the playground in Chromium shows the numbers of the API, with tiny models."""

import base64

import numpy as np
import pytest

from millpond.testing.pictures import file_of, picture, url_of
from millpond_server.testing import running_server

pytestmark = pytest.mark.slow
TEXTS = ["the old mill", "snow on the hill", "a small boat", "the mill by the river"]
QUERY = "where is the mill"
MARKUP = "<img src=x onerror=alert(1)>"


def vectors(post, texts, **fields):
    return np.array([item["embedding"] for item in post("/v1/embeddings", input=texts, **fields)["data"]])


def cosines(left, right):
    return (left / np.linalg.norm(left, axis=1, keepdims=True)) @ (
        right / np.linalg.norm(right, axis=1, keepdims=True)
    ).T


def matrix(playground, panel):
    rows = playground.page.locator(f"#panel-{panel} tbody tr").count()
    return np.array(playground.values(f"#panel-{panel} tbody td")).reshape(rows, -1)


def ranks(playground, panel):
    """Return the shown documents as pairs of index and score."""
    places = playground.page.eval_on_selector_all(
        f"#panel-{panel} .ranking li", "(items) => items.map((it) => Number(it.dataset.index))"
    )
    return list(zip(places, playground.values(f"#panel-{panel} .ranking .bar-value"), strict=True))


def test_similarity_shows_the_cosines_of_all_pairs(playground, post):
    panel = playground.open("similarity", "embedder")
    playground.field("Texts").fill("\n".join([*TEXTS, "", "  "]))
    playground.run("similarity")
    expected = cosines(*[vectors(post, TEXTS)] * 2)
    np.testing.assert_allclose(matrix(playground, "similarity"), expected, atol=1e-5)
    scores = post("/score", text_1=TEXTS[0], text_2=TEXTS)["data"]
    np.testing.assert_allclose([item["score"] for item in scores], matrix(playground, "similarity")[0], atol=1e-5)
    pair = np.unravel_index(np.argmax(np.triu(expected, 1)), expected.shape)
    assert playground.texts("#panel-similarity .pairs li:first-child span") == [TEXTS[index] for index in pair]
    assert playground.texts("#panel-similarity .readout strong") == [f"{expected[pair]:.4f}"]
    tokens = post("/v1/embeddings", input=TEXTS)["usage"]["prompt_tokens"]
    assert f"{tokens} tokens" in panel.get_by_role("status").text_content()


def test_search_follows_the_query_and_embeds_documents_once(playground, post):
    panel = playground.open("search", "embedder")
    playground.field("Documents").fill("\n".join(TEXTS))
    playground.run("search")
    playground.run("search", lambda: playground.field("Query").fill(QUERY))
    expected = cosines(vectors(post, [QUERY]), vectors(post, TEXTS))[0]
    shown = ranks(playground, "search")
    assert [index for index, _ in shown] == np.argsort(-expected).tolist()
    np.testing.assert_allclose([score for _, score in shown], np.sort(expected)[::-1], atol=1e-5)
    panel.locator(".requests summary").click()
    (command,) = playground.texts("#panel-search .request pre")
    assert QUERY in command
    assert TEXTS[0] not in command


def test_rerank_shows_scores_and_moves(playground, post):
    playground.open("rerank", "reranker")
    playground.field("Query").fill(QUERY)
    playground.field("Documents").fill("\n".join(TEXTS))
    playground.run("rerank")
    results = post("/v1/rerank", model="reranker", query=QUERY, documents=TEXTS)["results"]
    shown = ranks(playground, "rerank")
    assert [index for index, _ in shown] == [result["index"] for result in results]
    np.testing.assert_allclose(
        [score for _, score in shown], [result["relevance_score"] for result in results], atol=1e-6
    )
    moves = [index - rank for rank, (index, _) in enumerate(shown)]
    arrows = {0: "=", **{n: f"↑{n}" for n in range(1, 9)}, **{-n: f"↓{n}" for n in range(1, 9)}}
    assert playground.texts("#panel-rerank .move") == [arrows[move] for move in moves]


def test_classify_shows_all_classes_of_each_text(playground, post):
    playground.open("classify", "classifier")
    playground.field("Texts").fill("\n".join([*TEXTS[:2], MARKUP]))
    playground.run("classify")
    probabilities = [
        item["probs"] for item in post("/classify", model="classifier", input=[*TEXTS[:2], MARKUP])["data"]
    ]
    expected = [sorted(row, reverse=True) for row in probabilities]
    shown = np.array(playground.values("#panel-classify .bar-value")).reshape(3, 3)
    np.testing.assert_allclose(shown, expected, atol=1e-6)
    assert playground.texts("#panel-classify h3.quote") == [*TEXTS[:2], MARKUP]
    labels = playground.texts("#panel-classify .card:first-child .bar-label")
    assert labels == [f"LABEL_{index}" for index in np.argsort(-np.array(probabilities[0]))]


def test_entities_are_marked_at_their_positions(playground, post):
    text = "\U0001f986 the woman lives by the old mill"  # the first character is two code units in JavaScript
    playground.open("entities", "tagger")
    playground.field("Text").fill(text)
    for aggregation in ("simple", "none"):
        playground.field("Aggregation").select_option(aggregation)
        playground.run("entities")
        (item,) = post("/entities", model="tagger", input=[text], aggregation=aggregation)["data"]
        assert item["entities"]
        marks = playground.page.eval_on_selector_all(
            "#panel-entities mark", "(items) => items.map((it) => [it.firstChild.data, it.lastChild.textContent])"
        )
        expected = [[text[it["start"] : it["end"]], it["label"]] for it in item["entities"]]
        assert marks == expected
        shown = playground.values("#panel-entities td.numeric[data-value]")
        np.testing.assert_allclose(shown, [it["score"] for it in item["entities"]], atol=1e-6)
        passage = "".join(
            playground.page.eval_on_selector(
                "#panel-entities .passage",
                "(it) => [...it.childNodes].map((node) => node.firstChild?.data ?? node.data)",
            )
        )
        assert passage == text


def test_token_matches_add_up_to_the_score(playground, post):
    playground.open("maxsim", "colbert")
    playground.field("Query").fill(QUERY)
    playground.field("Document").fill(f"{TEXTS[3]}.")
    playground.run("maxsim")
    fields = {"model": "colbert", "query": QUERY, "documents": [f"{TEXTS[3]}."]}
    (item,) = post("/explain", **fields, return_similarities=True)["data"]
    shown = matrix(playground, "maxsim")
    np.testing.assert_allclose(shown, item["similarities"], atol=1e-6)
    (result,) = post("/rerank", **fields)["results"]
    assert shown.max(axis=1).sum() == pytest.approx(result["relevance_score"], abs=1e-4)
    assert playground.values("#panel-maxsim .score strong") == pytest.approx([result["relevance_score"]], abs=1e-4)
    assert playground.texts("#panel-maxsim tbody th") == item["query_tokens"]
    assert playground.texts("#panel-maxsim thead th") == item["document_tokens"]
    assert "." not in item["document_tokens"]
    marked = playground.page.eval_on_selector_all(
        "#panel-maxsim tbody tr", "(rows) => rows.map((row) => row.querySelector('.marked').cellIndex - 1)"
    )
    assert marked == shown.argmax(axis=1).tolist()


def test_sparse_terms_are_those_of_the_vectors(playground, post):
    playground.open("sparse", "splade")
    playground.field("Query").fill(QUERY)
    playground.field("Document").fill(TEXTS[3])
    playground.run("sparse")
    (item,) = post("/explain", model="splade", query=QUERY, documents=[TEXTS[3]], top_terms=24)["data"]
    (vector,) = post("/embed_sparse", model="splade", inputs=[TEXTS[3]])
    weights = sorted((pair["value"] for pair in vector), reverse=True)[:24]
    np.testing.assert_allclose(playground.values('[aria-label="Document"] .bar-value'), weights, atol=1e-5)
    assert playground.texts('[aria-label="Document"] .bar-label') == [term["token"] for term in item["terms"]]
    assert playground.values("#panel-sparse .score strong") == pytest.approx([item["score"]], abs=1e-4)
    shared = playground.values('[aria-label="Shared terms"] .bar-value')
    np.testing.assert_allclose(shared, [term["weight"] for term in item["shared"]], atol=1e-5)


def test_images_are_compared_with_texts(playground, post):
    panel = playground.open("images", "clip")
    assert panel.locator("tbody tr").count() == 3  # the drawings
    pictures = [picture(40, 30), picture(24, 48, seed=1)]
    playground.field("Images").set_input_files(
        [{"name": f"{index}.png", "mimeType": "image/png", "buffer": file_of(it)} for index, it in enumerate(pictures)]
    )
    panel.locator("img[alt='1.png']").first.wait_for()
    playground.field("Texts").fill("\n".join(TEXTS[:3]))
    playground.run("images")
    data = post("/embeddings_image", model="clip", input=[url_of(it) for it in pictures])["data"]
    images = np.array([item["embedding"] for item in data])
    expected = cosines(images, vectors(post, TEXTS[:3], model="clip"))
    np.testing.assert_allclose(matrix(playground, "images"), expected, atol=1e-5)
    playground.field("Texts").fill("")
    playground.run("images")
    np.testing.assert_allclose(matrix(playground, "images"), cosines(images, images), atol=1e-5)


@pytest.mark.parametrize(("panel", "model"), [("similarity", "embedder"), ("classify", "classifier")])
def test_results_of_truncated_texts_state_it_each_time(playground, panel, model):
    message = playground.open(panel, model).locator(".truncation")
    assert message.text_content() == ""
    playground.field("Texts").fill(f"{'mill ' * 300}\n{TEXTS[0]}")
    for _ in range(2):  # the second time, the page may have kept the vectors
        playground.run(panel)
        assert message.text_content().startswith(
            "At least one text is longer than the model can read, and was truncated"
        )
    playground.field("Texts").fill("\n".join(TEXTS))
    playground.run(panel)
    assert message.text_content() == ""


def test_vectors_of_tokens_are_not_compared_like_vectors_of_texts(new_page, bert):
    with running_server(bert, arguments={"pooler_config": {"task": "token_embed"}}) as running:
        playground = new_page(running.url)
        page = playground.page
        page.goto(f"{running.url}/playground#similarity")
        page.get_by_text("embedder returns one vector per token, and this tab compares one vector per text.").wait_for()
        assert page.locator("#panel-similarity tbody").count() == 0
        playground.open("maxsim")
        assert page.locator("#panel-maxsim tbody tr").count() > 1


@pytest.mark.parametrize("side", ["right", "left"])
def test_tokens_that_truncation_removes_are_those_of_the_model(playground, post, side):
    text = "the old mill by the river is \U0001f986 antidisestablishmentarianism"
    playground.open("tokens", "embedder")
    playground.field("Text").fill(text)
    playground.field("Token limit").fill("8")
    playground.field("Removed from").select_option(side)
    playground.run("tokens")
    options = {"truncate_prompt_tokens": 8, "truncation_side": side}
    fields = {"representations": [{"task": "embed"}], "return_tokens": True}
    (kept,) = post("/v1/represent", input=[text], **fields, **options)["data"]
    (whole,) = post("/v1/represent", input=[text], **fields)["data"]
    shown = playground.texts("#panel-tokens .tokens li:not(.dropped) .token-id")
    assert [int(token) for token in shown] == kept["token_ids"]
    assert [int(it) for it in playground.texts("#panel-tokens .token-id")] == whole["token_ids"]
    counts = [len(whole["token_ids"]), 8, kept["num_dropped_tokens"]]
    assert playground.values("#panel-tokens .counts [data-value]") == counts
    playground.field("Token limit").fill("")
    playground.run("tokens")
    assert playground.page.locator("#panel-tokens .dropped[title]").count() == 0


def test_only_features_of_the_model_are_shown(playground):
    playground.open("tokens")
    shown = {}
    for model in ("embedder", "classifier", "reranker", "tagger", "colbert", "splade", "clip"):
        playground.page.select_option("#model", model)
        shown[model] = playground.texts("#tabs [role=tab]")
    assert shown == {
        "embedder": ["Similarity", "Search", "Rerank", "Token matches", "Tokens"],
        "classifier": ["Classify", "Tokens"],
        "reranker": ["Rerank", "Tokens"],
        "tagger": ["Entities", "Tokens"],
        "colbert": ["Rerank", "Token matches", "Tokens"],
        "splade": ["Rerank", "Sparse terms", "Tokens"],
        "clip": ["Similarity", "Search", "Rerank", "Images", "Token matches", "Tokens"],
    }


def test_the_shown_request_can_be_sent_with_curl(playground, post):
    panel = playground.open("similarity", "embedder")
    playground.field("Texts").fill("it's old\nsnow")
    playground.run("similarity")
    panel.locator(".requests summary").click()
    (command,) = playground.texts("#panel-similarity .request pre")
    assert command.startswith(f"curl -X POST '{playground.url}/v1/embeddings'")
    assert '\'{"model":"embedder","input":["it\'\\\'\'s old","snow"]' in command
    assert base64.b64decode(post("/v1/embeddings", input="snow", encoding_format="base64")["data"][0]["embedding"])
