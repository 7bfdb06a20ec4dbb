"""All fields that other servers define are read, have no effect on the result, or are refused by name."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from millpond import LLM, PoolingParams
from millpond.testing.checkpoints import tiny, write_sentence_transformers
from millpond_server.apis.catalogue import routes as rows
from millpond_server.apis.common.unsupported_fields import (
    CLASS_FIELDS,
    HIDDEN_STATE_FIELDS,
    SCORE_FIELDS,
    VECTOR_FIELDS,
)

TEXTS = ["the old mill", "snow on the hill", "a bird"]
CHAT = "messages add_generation_prompt continue_final_message chat_template chat_template_kwargs media_io_kwargs"
TOKENS = "truncate_prompt_tokens truncation_side padding add_special_tokens"
VLLM = f"model user request_id priority cache_salt mm_processor_kwargs {TOKENS}"
OF_VLLM_SCORES = (
    "model user request_id priority cache_salt mm_processor_kwargs media_io_kwargs truncate_prompt_tokens "
    "truncation_side padding use_activation max_tokens_per_query max_tokens_per_doc chat_template chat_template_kwargs"
)
OPENAI = "input model encoding_format dimensions user"
RERANK = f"query documents top_n return_documents {OF_VLLM_SCORES}"
# What the APIs of others define, by route and by whose it is.
FIELDS = {
    "POST /v1/embeddings": {
        "OpenAI": OPENAI,
        "vLLM": f"input encoding_format dimensions embed_dtype endianness use_activation normalize {VLLM} {CHAT} "
        "late_chunking_params",
        "Jina": "model input task dimensions normalized late_chunking embedding_type truncate return_multivector",
        "Infinity": f"{OPENAI} modality",
        "Cohere": "model input_type embedding_types output_dimension truncate",
    },
    "POST /jina/v1/embeddings": {
        "Jina": "model input task dimensions normalized late_chunking embedding_type truncate return_multivector",
    },
    "POST /embeddings": {"Infinity": f"{OPENAI} modality", "text-embeddings-inference": OPENAI},
    "POST /embeddings_image": {"Infinity": "input model encoding_format user"},
    "POST /infinity/embeddings": {"Infinity": f"{OPENAI} modality"},
    "POST /infinity/rerank": {"Infinity": "query documents return_documents raw_scores model top_n"},
    "POST /infinity/classify": {"Infinity": "input model raw_scores"},
    "POST /tei/v1/embeddings": {"text-embeddings-inference": OPENAI},
    "POST /embed": {
        "text-embeddings-inference": "inputs truncate truncation_direction prompt_name normalize dimensions"
    },
    "POST /embed_all": {"text-embeddings-inference": "inputs truncate truncation_direction prompt_name"},
    "POST /embed_sparse": {"text-embeddings-inference": "inputs truncate truncation_direction prompt_name"},
    "POST /predict": {"text-embeddings-inference": "inputs truncate truncation_direction raw_scores"},
    "POST /tei/rerank": {
        "text-embeddings-inference": "query texts truncate truncation_direction raw_scores return_text"
    },
    "POST /tei/tokenize": {"text-embeddings-inference": "inputs add_special_tokens prompt_name"},
    "POST /decode": {"text-embeddings-inference": "ids skip_special_tokens"},
    "POST /v2/embed": {
        "Cohere": "model input_type texts images inputs max_tokens output_dimension embedding_types truncate priority",
    },
    "POST /v1/embed": {"Cohere": "model texts images input_type embedding_types truncate"},
    "POST /v2/rerank": {"Cohere": "model query documents top_n max_tokens_per_doc priority"},
    "POST /v1/rerank": {
        "Cohere": "model query documents top_n rank_fields return_documents max_chunks_per_doc max_tokens_per_doc",
        "Jina": "model query documents top_n return_documents max_doc_length max_query_length return_embeddings",
        "vLLM": f"{RERANK} instruction",
    },
    "POST /classify": {"vLLM": f"input use_activation softmax activation {VLLM} {CHAT}", "Infinity": "raw_scores"},
}
ROWS = {row.name: row for row in rows()}


@pytest.mark.parametrize(
    ("route", "field"),
    sorted(
        {(route, field) for route, peers in FIELDS.items() for fields in peers.values() for field in fields.split()}
    ),
)
def test_each_is_decided(route, field):
    module, _, name = ROWS[route].request.partition(":")
    model = getattr(import_module(module), name)
    decided = [field in model.model_fields, field in model.without_effect, field in model.unsupported]
    assert decided.count(True) == 1, f"{route} {field}: read, without effect, refused: {decided}"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("peers")
    encoder = tiny("BertModel", root / "encoder")
    write_sentence_transformers(encoder, pooling="mean", prompts={"query": "a cat "})
    return {
        "encoder": str(encoder),
        "classifier": str(tiny("BertForSequenceClassification", root / "classifier", num_labels=3)),
        "reranker": str(tiny("BertForSequenceClassification", root / "reranker", num_labels=1)),
    }


@pytest.fixture(scope="module")
def offline(folders):
    with LLM(folders["encoder"], hf_overrides={"is_matryoshka": True}) as llm:
        yield llm


@pytest.fixture(scope="module")
def post(application, folders):
    with application(folders, options={"encoder": {"hf_overrides": {"is_matryoshka": True}}}) as call:
        yield call


def arrays(outputs):
    return np.stack([output.outputs.array for output in outputs])


def vectors(answer):
    return np.array([item["embedding"] for item in answer["data"]])


@pytest.mark.parametrize("path", ["/v1/embeddings", "/jina/v1/embeddings", "/embeddings"])
def test_vectors_that_are_not_to_be_normalized_are_not(post, offline, path):
    expected = arrays(offline.embed(TEXTS, pooling_params=PoolingParams(use_activation=False), use_tqdm=False))
    for name in ("normalize", "normalized", "use_activation"):
        np.testing.assert_allclose(vectors(post(path, input=TEXTS, **{name: False})), expected, atol=1e-5)
    refused = post(path, 400, input=TEXTS, normalize=False, use_activation=True)
    assert "normalize=False disagree" in refused["message"]


def test_other_names_of_dimensions_input_types_and_lengths_are_read(post, offline):
    np.testing.assert_allclose(
        vectors(post("/v1/embeddings", input=TEXTS, output_dimension=8)),
        arrays(offline.embed(TEXTS, pooling_params=PoolingParams(dimensions=8), use_tqdm=False)),
        atol=1e-6,
    )
    np.testing.assert_allclose(
        vectors(post("/v1/embeddings", input=TEXTS, input_type="search_query")),
        arrays(offline.embed(TEXTS, prompt_name="query", use_tqdm=False)),
        atol=1e-6,
    )
    long = "the mill " * 40 + "a bird"
    for cut, side in ((True, "right"), ("END", "right"), ("START", "left")):
        expected = offline.embed(
            [long], truncate_prompt_tokens=-1, tokenization_kwargs={"truncation_side": side}, use_tqdm=False
        )
        np.testing.assert_allclose(
            vectors(post("/v1/embeddings", input=long, truncate=cut)), arrays(expected), atol=1e-6
        )
    for uncut in (False, "NONE"):
        assert "maximum context length" in post("/v1/embeddings", 400, input=long, truncate=uncut)["message"]


@pytest.mark.parametrize("path", ["/v1/embeddings", "/jina/v1/embeddings"])
def test_late_chunking_reads_all_inputs_as_one_text(post, offline, path):
    text, starts = " ".join(TEXTS), [0, 13, 30]
    spans = [(start, start + len(one)) for start, one in zip(starts, TEXTS, strict=True)]
    (expected,) = offline.embed_chunks(text, spans=spans, use_tqdm=False)
    answer = post(path, input=TEXTS, late_chunking=True)
    np.testing.assert_allclose(vectors(answer), expected.outputs.array, atol=1e-6)
    assert np.abs(vectors(answer) - arrays(offline.embed(TEXTS, use_tqdm=False))).max() > 1e-3
    assert answer["usage"]["prompt_tokens"] == len(offline.get_tokenizer()(text)["input_ids"])
    post(path, 400, input=[[5, 6], [7]], late_chunking=True)


def test_number_types_are_also_returned_by_the_route_of_openai(post, offline):
    whole = arrays(offline.embed(TEXTS, use_tqdm=False))
    packed = vectors(post("/v1/embeddings", input=TEXTS, embedding_type="ubinary"))
    np.testing.assert_array_equal(packed, np.packbits(whole >= 0, axis=1))
    assert "embedding_type" in post("/v1/embeddings", 400, input=TEXTS, embedding_type="int4")["message"]


@pytest.mark.parametrize(
    ("path", "body", "field", "value", "neutral"),
    [
        ("/v1/embeddings", {"input": "a"}, "return_multivector", True, False),
        ("/v1/embeddings", {"input": "a"}, "embedding_types", ["int8"], ["float"]),
        ("/v1/embeddings", {"input": "a"}, "encoding_type", "int8", "float"),
        ("/v1/embeddings", {"input": "a"}, "media_io_kwargs", {"image": {"x": 1}}, {}),
        ("/v1/embeddings", {"input": "a"}, "modality", "audio", "text"),
        ("/v1/embeddings", {"input": "a"}, "text_pair", "b", None),
        ("/v1/embeddings", {"input": "a"}, "truncate_dim", 8, None),
        ("/v1/embeddings", {"input": "a"}, "normalize_embeddings", False, None),
        ("/v1/embeddings", {"input": "a"}, "precision", "int8", "float32"),
        ("/v1/embeddings", {"input": "a"}, "max_length", 3, None),
        ("/v1/embeddings", {"input": "a"}, "pooling", "cls", None),
        ("/v1/embeddings", {"input": "a"}, "images", ["aGk="], []),
        ("/classify", {"input": "a", "model": "classifier"}, "text_pair", "b", None),
        ("/classify", {"input": "a", "model": "classifier"}, "max_length", 3, None),
        ("/predict", {"inputs": "a", "model": "classifier"}, "parameters", {"top_k": 1}, {}),
        ("/predict", {"inputs": "a", "model": "classifier"}, "text_pair", "b", None),
        ("/rerank", {"query": "a", "documents": ["b"], "model": "reranker"}, "max_length", 3, None),
        ("/rerank", {"query": "a", "texts": ["b"], "model": "reranker"}, "documents", ["c"], None),
        ("/v1/embeddings", {"input": "aGk="}, "modality", "image", "text"),
        ("/v1/rerank", {"query": "a", "documents": ["b"], "model": "reranker"}, "relevant_spans", True, False),
        ("/v1/rerank", {"query": "a", "documents": ["b"], "model": "reranker"}, "chat_template", "{{ a }}", None),
        ("/rerank", {"query": "a", "documents": ["b"], "model": "reranker"}, "return_embeddings", True, False),
        ("/infinity/rerank", {"query": "a", "documents": ["b"], "model": "reranker"}, "max_doc_length", 3, None),
        ("/classify", {"input": "a", "model": "classifier"}, "softmax", False, None),
        ("/embed_all", {"inputs": "a"}, "normalize", True, False),
    ],
    ids=str,
)
def test_unsupported_fields_are_refused_unless_they_request_the_default(post, path, body, field, value, neutral):
    status = 422 if path in ("/embed_all", "/predict") else 400
    refused = post(path, status, **body, **{field: value})
    message = refused.get("message") or refused["error"]
    assert field in message
    if status == 400:
        assert refused["error"]["param"] == field
    post(path, **body, **{field: neutral})


@pytest.mark.parametrize("path", ["/classify", "/rerank", "/v1/rerank"])
def test_raw_scores_are_raw_at_the_root_too(post, path):
    body = {"input": "a", "model": "classifier"} if path == "/classify" else {"query": "a", "documents": ["b"]}
    body = {"model": "reranker", **body}

    def numbers(**fields):
        answer = post(path, **body, **fields)
        return answer["data"][0]["probs"] if path == "/classify" else [answer["results"][0]["relevance_score"]]

    raw = numbers(raw_scores=True)
    assert raw == numbers(use_activation=False) != numbers()
    assert numbers(raw_scores=False) == numbers(use_activation=True)
    assert "disagree" in post(path, 400, **body, raw_scores=True, use_activation=True)["message"]


@pytest.mark.parametrize(
    ("path", "key", "read"),
    [
        ("/v1/embeddings", "input", vectors),
        ("/jina/v1/embeddings", "input", vectors),
        ("/infinity/embeddings", "input", vectors),
        ("/tei/v1/embeddings", "input", vectors),
        ("/pooling", "input", lambda answer: np.array([item["data"] for item in answer["data"]])),
        ("/embed", "inputs", np.array),
    ],
)
def test_an_instruction_is_the_text_before_each_input(post, offline, path, key, read):
    expected = arrays(offline.embed(TEXTS, prompt="a cat ", use_tqdm=False))
    np.testing.assert_allclose(read(post(path, **{key: TEXTS}, instruction="a cat ")), expected, atol=1e-6)
    assert not np.allclose(read(post(path, **{key: TEXTS})), expected, atol=1e-3)


def test_an_instruction_together_with_a_prompt_is_refused(post):
    refused = post("/v1/embeddings", 400, input="a", instruction="a cat ", prompt="a dog ")
    assert "disagree" in refused["message"]
    refused = post("/v1/embeddings", 400, input="a", instruction="a cat ", prompt_name="query")
    assert "both given" in refused["message"]
    refused = post("/v2/embed", 400, texts=["a"], instruction="a cat ")
    assert "pass input_type" in refused["message"]


@pytest.mark.parametrize("model", ["encoder", "reranker"])
@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank", "/cohere/v1/rerank", "/infinity/rerank"])
def test_chunks_of_a_document_are_bounded_where_it_is_read_whole(post, path, model):
    short = {"model": model, "query": "a", "documents": ["the old mill", "b"]}
    results = post(path, **short)["results"]
    assert post(path, **short, max_chunks_per_doc=1)["results"] == results
    long = {**short, "documents": ["b", "the old mill " * 40], "truncate_prompt_tokens": -1}
    post(path, **long)
    refused = post(path, 400, **long, max_chunks_per_doc=1)
    assert refused["error"]["param"] == "max_chunks_per_doc"
    assert "of pair 1 were removed" in refused["message"]
    assert (
        "max_chunks_per_doc" in post(path, 422 if "infinity" in path else 400, **short, max_chunks_per_doc=0)["message"]
    )


def test_documents_cut_by_max_tokens_per_doc_have_no_chunks(post):
    body = {"model": "reranker", "query": "a", "documents": ["the old mill"], "max_tokens_per_doc": 2}
    for path in ("/v1/rerank", "/infinity/rerank"):
        cut = post(path, **body)["results"][0]["relevance_score"]
        assert cut == pytest.approx(post(path, **{**body, "documents": ["the old"]})["results"][0]["relevance_score"])
        assert "were removed" in post(path, 400, **body, max_chunks_per_doc=2)["message"]


def test_a_request_and_its_response_have_the_same_id(post):
    assert post("/v1/embeddings", input="a", request_id="mine")["id"] == "embd-mine"


def test_the_page_on_the_server_lists_each_unsupported_field():
    page = (Path(__file__).parents[4] / "docs" / "reference" / "server.md").read_text(encoding="utf-8")
    assert [
        name for name in {*VECTOR_FIELDS, *SCORE_FIELDS, *CLASS_FIELDS, *HIDDEN_STATE_FIELDS} if f"`{name}`" not in page
    ] == []
