"""Scores of images, and of texts with images, over HTTP: the same numbers as ``LLM``."""

import numpy as np
import pytest
import transformers

from millpond import LLM, PoolingParams
from millpond.testing.pictures import picture, url_of
from millpond_models.testing.dual_encoders import tiny_dual_encoder
from millpond_transformers.testing.vision_language import (
    qwen_vl,
    randomised,
    tiny_vision_reranker,
    write_vision_language,
)

PICTURE = picture(40, 60)
MEAN = PoolingParams(extra_kwargs={"mixed_modality": "mean"})


URL = url_of(PICTURE)
ENCODED = URL.partition(",")[2]
IMAGE = {"type": "image_url", "image_url": {"url": URL}}
TEXT = {"type": "text", "text": "water"}
BOTH = {"content": [TEXT, IMAGE]}
DOCUMENTS = ["a mill", {"image": URL}, {"text": "a pond"}, {"image": ENCODED}, {"content": [IMAGE]}]
OFFLINE = ["a mill", {"image": PICTURE}, "a pond", {"image": PICTURE}, {"image": PICTURE}]


def scores(llm, query, documents, params=None):
    outputs = llm.score(query, documents, pooling_params=params, use_tqdm=False)
    return pytest.approx([output.outputs.score for output in outputs], abs=1e-5)


def close(actual, expected):
    np.testing.assert_allclose(np.array(actual), np.array(expected), atol=1e-5)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return tiny_dual_encoder("CLIPModel", tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def clip(clip_folder):
    with LLM(str(clip_folder), num_workers=1) as llm:
        yield llm


@pytest.fixture(scope="module")
def clip_http(serving, clip_folder):
    with serving(str(clip_folder), "--max-images", "4") as running, running.client() as http:
        yield http


@pytest.fixture(scope="module")
def qwen_folder(tmp_path_factory):
    tiny_model = qwen_vl("qwen2_vl")
    model = randomised(transformers.Qwen2VLForConditionalGeneration(transformers.Qwen2VLConfig(**tiny_model.config)))
    folder = write_vision_language(model, tiny_model, tmp_path_factory.mktemp("qwen"))
    settings = '{"prompts": {"query": "Find it. ", "document": ""}}'
    (folder / "config_sentence_transformers.json").write_text(settings)
    return folder


@pytest.fixture(scope="module")
def qwen(qwen_folder):
    with LLM(str(qwen_folder), num_workers=1) as llm:
        yield llm


@pytest.fixture(scope="module")
def qwen_http(serving, qwen_folder):
    with serving(str(qwen_folder), "--max-images", "4") as running, running.client() as http:
        yield http


def posted(http, path, status=200, **body):
    answer = http.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


# --- scores -----------------------------------------------------------------------------------------------------------


def test_score(clip_http, clip):
    expected = scores(clip, "water", OFFLINE)
    for path in ("/score", "/v1/score"):
        for left, right in (("queries", "documents"), ("data_1", "data_2"), ("text_1", "text_2")):
            body = posted(clip_http, path, **{left: "water", right: DOCUMENTS})
            assert [item["score"] for item in body["data"]] == expected
    tokens = [output.num_prompt_tokens for output in clip.score("water", OFFLINE, use_tqdm=False)]
    assert body["usage"]["prompt_tokens"] == sum(tokens)
    body = posted(clip_http, "/score", queries={"content": [IMAGE]}, documents="a mill")
    assert [item["score"] for item in body["data"]] == scores(clip, {"image": PICTURE}, "a mill")
    body = posted(clip_http, "/score", queries=["a", {"image": URL}], documents=[{"image": URL}, "b"])
    expected = scores(clip, ["a", {"image": PICTURE}], [{"image": PICTURE}, "b"])
    assert [item["score"] for item in body["data"]] == expected


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank", "/jina/v1/rerank", "/cohere/v2/rerank"])
def test_rerank(clip_http, clip, path):
    expected = scores(clip, "water", OFFLINE).expected
    body = posted(clip_http, path, query="water", documents=DOCUMENTS, return_documents=True)
    places = sorted(range(5), key=lambda index: -expected[index])
    close([item["relevance_score"] for item in body["results"]], sorted(expected, reverse=True))
    by_place = {item["index"]: item for item in body["results"]}
    assert [expected[item["index"]] for item in body["results"]] == pytest.approx([expected[p] for p in places])
    documents = [by_place[index]["document"] for index in range(5)]
    assert [document["text"] for document in documents] == ["a mill", None, "a pond", None, None]
    parts = [document["multi_modal"] for document in documents]
    assert parts[0] is parts[2] is None
    assert parts[1] == parts[4] == [IMAGE]
    assert parts[3][0]["image_url"]["url"].endswith(ENCODED)
    best = posted(clip_http, path, query="water", documents=DOCUMENTS, top_n=2, return_documents=False)
    assert [set(item) for item in best["results"]] == [{"index", "relevance_score"}] * 2


def test_a_query_may_be_an_image(clip_http, clip):
    for query in ({"image": URL}, {"content": [IMAGE]}):
        body = posted(clip_http, "/rerank", query=query, documents=["a mill"])
        assert [item["relevance_score"] for item in body["results"]] == scores(clip, {"image": PICTURE}, "a mill")


def test_a_text_and_an_image_in_one_document(clip_http, clip):
    body = posted(clip_http, "/rerank", 400, query="a", documents=["b", BOTH])
    assert "document: CLIP accepts text-only or image-only inputs" in body["error"]["message"]
    assert body["error"]["param"] == "documents"
    pil = {"content": [TEXT, {"type": "image_pil", "image_pil": PICTURE}]}
    body = posted(clip_http, "/rerank", query="a", documents=[BOTH], mixed="mean")
    assert [item["relevance_score"] for item in body["results"]] == scores(clip, "a", pil, MEAN)
    assert body["results"][0]["document"] == {"text": "water", "multi_modal": [TEXT, IMAGE]}
    for both in (BOTH, {"text": "water", "image": URL}, {"text": "water", "image": ENCODED}):
        body = posted(clip_http, "/score", queries="a", documents=[both], mixed="mean")
        assert [item["score"] for item in body["data"]] == scores(clip, "a", pil, MEAN)


@pytest.mark.slow
def test_all_images_of_a_request_are_counted(clip_http, qwen_http):
    none = {"image": "data:image/png;base64,AAAA"}
    parts = {"content": [{"type": "image_url", "image_url": {"url": none["image"]}}] * 3}
    for path, body in (
        ("/rerank", {"query": "a", "documents": [none] * 5}),
        ("/rerank", {"query": none, "documents": [none] * 4}),
        ("/v1/rerank", {"query": "a", "documents": [parts, parts]}),
        ("/score", {"queries": [none] * 2, "documents": [parts, none]}),
        ("/v2/embed", {"inputs": [parts, parts]}),
        ("/tokenize", {"messages": [{"role": "user", **parts}] * 2}),
        ("/pooling", {"messages": [{"role": "user", **parts}] * 2}),
        ("/v1/represent", {"messages": [{"role": "user", **parts}] * 2, "representations": [{"task": "embed"}]}),
    ):
        for http in (clip_http, qwen_http):
            answer = posted(http, path, 413, **body)
            assert "images; a request may contain at most 4" in answer["error"]["message"], path


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://169.254.169.254/latest/meta-data/", "may not be fetched from the host '169.254.169.254'"),
        ("file:///etc/passwd", "the file may not be read"),
        ("data:image/png;base64,AAAA", "damaged, or its format is not one of"),
        ("/etc/passwd", "must begin with data:image"),
    ],
)
def test_urls_that_are_not_allowed_are_not_fetched(clip_http, url, message):
    document = {"content": [{"type": "image_url", "image_url": {"url": url}}]}
    for kind in ("image_url", "image_pil"):
        document = {"content": [{"type": kind, kind: url}]}
        answer = posted(clip_http, "/rerank", 400, query="a", documents=["b", document])
        assert message in answer["error"]["message"]
        answer = posted(clip_http, "/score", 400, queries=document, documents="b")
        assert message in answer["error"]["message"]


@pytest.mark.parametrize(
    "document",
    [
        7,
        None,
        [],
        {},
        {"image": 7},
        {"text": "a", "image": 7},
        {"text": "a", "content": "b"},
        {"image": URL, "content": [TEXT]},
        {"content": []},
        {"content": [7]},
        {"title": "a"},
    ],
)
def test_invalid_documents_are_refused(clip_http, document):
    posted(clip_http, "/rerank", 400, query="a", documents=["b", document])
    posted(clip_http, "/score", 400, queries="a", documents=["b", document])


def test_a_model_of_text_refuses_images(minilm_server):
    with minilm_server.client() as http:
        for path, body in (
            ("/rerank", {"query": "a", "documents": ["b", {"image": URL}]}),
            ("/v2/rerank", {"query": "a", "documents": [BOTH]}),
            ("/score", {"queries": "a", "documents": {"content": [IMAGE]}}),
            ("/rerank", {"query": "a", "documents": ["b", {"text": "b", "image": URL}]}),
        ):
            message = posted(http, path, 400, **body)["error"]["message"]
            assert "MultiModalParam is not supported for BertModel" in message
        documents = [{"text": "b", "image": None}, {"content": [TEXT]}, {"content": "c"}]
        body = posted(http, "/rerank", query="a", documents=documents)
        documents = {item["index"]: item["document"] for item in body["results"]}
        assert documents[0] == {"text": "b", "multi_modal": None}
        assert documents[1] == {"text": "water", "multi_modal": [TEXT]}
        assert documents[2] == {"text": "c", "multi_modal": None}


# --- texts with images ------------------------------------------------------------------------------------------------


def message(*parts, role="user"):
    return [{"role": role, "content": list(parts)}]


@pytest.fixture(scope="module")
def vectors(qwen):
    """The vectors of a text, an image, and a text followed by an image, as messages of a user."""
    pil = {"type": "image_pil", "image_pil": PICTURE}
    prompts = [{"messages": message(*parts)} for parts in ([TEXT], [pil], [TEXT, pil])]
    return [output.outputs.array for output in qwen.embed(prompts, use_tqdm=False)]


@pytest.mark.slow
def test_rerank_by_a_vision_language_model(qwen_http, qwen):
    pil = {"content": [TEXT, {"type": "image_pil", "image_pil": PICTURE}]}
    both = {"text": "water", "image": PICTURE}
    body = posted(qwen_http, "/rerank", query="a", documents=["b", BOTH, {"image": URL}, {**both, "image": URL}])
    score_by_index = {item["index"]: item["relevance_score"] for item in body["results"]}
    assert [score_by_index[index] for index in range(4)] == scores(qwen, "a", ["b", pil, {"image": PICTURE}, both])


@pytest.mark.slow
def test_cohere_returns_one_vector_for_text_and_image(qwen_http, vectors):
    asked = {"embedding_types": ["float"]}
    body = posted(qwen_http, "/v2/embed", inputs=[BOTH, {"content": [TEXT]}, {"content": [IMAGE]}], **asked)
    close(body["embeddings"]["float"], [vectors[2], vectors[0], vectors[1]])
    units = body["meta"]["billed_units"]
    assert units["images"] == 2
    assert units["input_tokens"] > 0
    assert units["image_tokens"] > units["input_tokens"]
    body = posted(qwen_http, "/v2/embed", images=[URL], input_type="image", **asked)
    close(body["embeddings"]["float"], [vectors[1]])
    body = posted(qwen_http, "/v2/embed", texts=["water"], **asked)
    close(body["embeddings"]["float"], [vectors[0]])
    assert body["texts"] == ["water"]


@pytest.mark.slow
def test_a_purpose_is_a_message_of_the_system(qwen_http, qwen):
    system = [{"role": "system", "content": "Find it. "}]
    pil = {"type": "image_pil", "image_pil": PICTURE}
    prompts = [{"messages": [*system, *message(*parts)]} for parts in ([TEXT, pil], [TEXT])]
    both, text = (output.outputs.array for output in qwen.embed(prompts, use_tqdm=False))
    asked = {"embedding_types": ["float"], "input_type": "search_query"}
    close(posted(qwen_http, "/v2/embed", inputs=[BOTH], **asked)["embeddings"]["float"], [both])
    close(posted(qwen_http, "/v2/embed", texts=["water"], **asked)["embeddings"]["float"], [text])


@pytest.mark.slow
def test_messages_on_every_route(qwen_http, qwen, vectors):
    body = posted(qwen_http, "/v1/embeddings", messages=message(TEXT, IMAGE))
    close(body["data"][0]["embedding"], vectors[2])
    tokens = body["usage"]["prompt_tokens"]
    pooled = posted(qwen_http, "/pooling", messages=message(TEXT, IMAGE), task="token_embed")
    assert np.array(pooled["data"][0]["data"]).shape == (tokens, 32)
    several = posted(
        qwen_http,
        "/v1/represent",
        messages=message(TEXT, IMAGE),
        representations=[{"task": "embed"}, {"task": "token_embed"}],
    )
    representations = several["data"][0]["representations"]
    close(representations[0]["embeddings"]["float"], vectors[2])
    close(representations[1]["embeddings"]["float"], pooled["data"][0]["data"])


@pytest.mark.slow
def test_tokenize_a_conversation(qwen_http, qwen):
    messages = [*message(TEXT, IMAGE), {"role": "assistant", "content": "a mill"}]
    (output,) = qwen.embed([{"messages": messages, "add_generation_prompt": True}], use_tqdm=False)
    body = posted(qwen_http, "/tokenize", messages=messages, return_token_strs=True)
    assert body["tokens"] == output.prompt_token_ids
    assert body["count"] == len(body["token_strs"]) == output.num_prompt_tokens
    assert body["token_strs"].count("<|image_pad|>") > 1
    opened = posted(qwen_http, "/tokenize", messages=messages, continue_final_message=True)
    assert opened["count"] < body["count"]
    long = posted(qwen_http, "/tokenize", messages=message({"type": "text", "text": "water " * 400}))
    assert long["count"] > body["max_model_len"]
    plain = posted(qwen_http, "/tokenize", prompt="water")
    assert plain["tokens"] == qwen.embed("water", use_tqdm=False)[0].prompt_token_ids
    for wrong in ({}, {"prompt": "a", "messages": messages}, {"messages": [messages, messages]}, {"messages": []}):
        posted(qwen_http, "/tokenize", 400, **wrong)
    template = posted(qwen_http, "/tokenize", 400, messages=messages, chat_template="{{ messages }}")
    assert "--trust-request-chat-template" in template["error"]["message"]


@pytest.mark.slow
def test_a_reranker_of_texts_and_images(serving, tmp_path):
    """The prompt is that of its authors' code, written out in full for one of the two calls."""
    folder = tmp_path / "Qwen3-VL-Reranker-2B"
    tiny_vision_reranker(folder)
    mark = "<|vision_start|><|image_pad|><|vision_end|>"
    prompt = (
        "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
        'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n<Instruct>: Find it'
        f"<Query>:a mill\n<Document>:{mark}water<|im_end|>\n<|im_start|>assistant\n"
    )
    body = {"documents": [{"content": [IMAGE, TEXT]}, "a pond"], "instruction": "Find it"}
    with serving(str(folder)) as running, running.client() as http:
        message = {"prompt": prompt, "multi_modal_data": {"image": PICTURE}}
        with LLM(str(folder), num_workers=1) as llm:
            expected = [output.outputs.probs[0] for output in llm.classify([message], use_tqdm=False)]
            expected.append(llm.score("a mill", "a pond", instruction="Find it", use_tqdm=False)[0].outputs.score)
        answer = posted(http, "/score", queries="a mill", **body)
        close([item["score"] for item in answer["data"]], expected)
        answer = posted(http, "/rerank", query="a mill", **body)
        ranked = sorted(answer["results"], key=lambda item: item["index"])
        close([item["relevance_score"] for item in ranked], expected)
