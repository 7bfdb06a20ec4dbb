"""``score`` compares vectors by the similarity that the checkpoint states, as sentence-transformers computes it."""

import json

import numpy as np
import pytest

from millpond import LLM
from millpond.model.repository import Repository
from millpond.testing.checkpoints import tiny, write_sentence_transformers, write_sparse_encoder

QUERIES = ["the old mill", "rain, snow and wind"]
DOCUMENTS = ["snow on the hill", "the mill stands by the river", "a cat"]
SETTINGS = "config_sentence_transformers.json"


def state(folder, **fields):
    path = folder / SETTINGS
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def matrix(llm, **options):
    scores = [llm.score(query, DOCUMENTS, use_tqdm=False, **options) for query in QUERIES]
    return np.array([[output.outputs.score for output in row] for row in scores])


def embedded(model, texts):
    """Return the vectors of sentence-transformers, as dense rows."""
    options = {"convert_to_sparse_tensor": False} if type(model).__name__ == "SparseEncoder" else {}
    return np.asarray(model.encode(texts, show_progress_bar=False, **options))


@pytest.mark.parametrize("stated", ["cosine", "dot", "euclidean", "manhattan", None, "maxsim"])
@pytest.mark.parametrize("kind", ["SentenceTransformer", "SparseEncoder"])
def test_each_similarity_equals_theirs(tmp_path, load, sentence_transformers, kind, stated):
    name = {"SentenceTransformer": "BertModel", "SparseEncoder": "BertForMaskedLM"}[kind]
    folder = tiny(name, tmp_path)
    if kind == "SparseEncoder":
        write_sparse_encoder(folder)
    else:
        write_sentence_transformers(folder, pooling="mean", normalize=False)
    state(folder, similarity_fn_name=stated)
    model = getattr(sentence_transformers, kind)(str(folder), device="cpu")
    queries, documents = (embedded(model, texts) for texts in (QUERIES, DOCUMENTS))
    expected = model.similarity(queries, documents).numpy()
    llm = load(folder)
    np.testing.assert_allclose(matrix(llm), expected, rtol=1e-4, atol=1e-5)
    assert llm.model_config.embedding.similarity == model.similarity_fn_name


def test_the_default_similarity_is_cosine_for_vectors_and_dot_product_for_weights(tmp_path, load):
    folder = tiny("BertForMaskedLM", tmp_path)
    dense, sparse = load(folder), load(folder, pooler_config={"pooling_type": "SPLADE_MAX"})
    assert np.abs(matrix(dense)).max() <= 1 + 1e-6
    vectors = [np.stack([o.outputs.array for o in sparse.embed(texts)]) for texts in (QUERIES, DOCUMENTS)]
    np.testing.assert_allclose(matrix(sparse), vectors[0] @ vectors[1].T, rtol=1e-5)
    assert matrix(sparse).max() > 1.5


@pytest.mark.parametrize(("stated", "warning"), [("cos", True), (3, True), ("MaxSim", False), ("dot", False)])
def test_an_unknown_similarity_is_ignored_and_reported(tmp_path, caplog, stated, warning):
    folder = tiny("BertModel", tmp_path, tokenizer=False)
    write_sentence_transformers(folder)
    state(folder, similarity_fn_name=stated)
    similarity = Repository("model", folder, "path").layers.get("embedding.similarity")
    assert similarity == ("dot" if stated == "dot" else None)
    expected_warning = (
        f"the unknown similarity_fn_name {stated!r}. Available: cosine, dot, euclidean, manhattan, maxsim, meanmaxsim"
    )
    assert (expected_warning in caplog.text) is warning


def test_the_number_of_weights_kept_is_that_of_the_checkpoint(tmp_path, load, sentence_transformers):
    folder = tiny("BertForMaskedLM", tmp_path)
    write_sparse_encoder(folder)
    state(folder, max_active_dims=5)
    model = sentence_transformers.SparseEncoder(str(folder), device="cpu")
    llm = load(folder)
    for options, kept in (({}, 5), ({"max_active_dims": 9}, 9), ({"max_active_dims": 2}, 2)):
        expected = model.encode(DOCUMENTS, convert_to_sparse_tensor=False, show_progress_bar=False, **options).numpy()
        actual = [output.outputs for output in llm.embed_sparse(DOCUMENTS, **options)]
        assert [weights.num_terms for weights in actual] == [kept] * len(DOCUMENTS)
        np.testing.assert_allclose([weights.dense() for weights in actual], expected, atol=1e-5)
        if not options:
            np.testing.assert_allclose([o.outputs.array for o in llm.embed(DOCUMENTS)], expected, atol=1e-5)
            scores = model.similarity(embedded(model, QUERIES), embedded(model, DOCUMENTS)).numpy()
            np.testing.assert_allclose(matrix(llm), scores, rtol=1e-4)


def test_queries_by_their_table_are_cut_too(tmp_path, load, sentence_transformers):
    from sentence_transformers.base.modules import Router, Transformer
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling

    folder = tiny("BertForMaskedLM", tmp_path / "bare")
    transformer = Transformer(str(folder), transformer_task="fill-mask")
    table = SparseStaticEmbedding(transformer.tokenizer)
    table.weight.data.uniform_(0.1, 2)
    router = Router.for_query_document(query_modules=[table], document_modules=[transformer, SpladePooling()])
    model = sentence_transformers.SparseEncoder(modules=[router], device="cpu", max_active_dims=2)
    model.save_pretrained(str(tmp_path / "saved"))
    llm = load(tmp_path / "saved")
    expected = model.encode_query(QUERIES, convert_to_sparse_tensor=False, show_progress_bar=False).numpy()
    actual = llm.embed_sparse(QUERIES, input_type="query")
    np.testing.assert_allclose([output.outputs.dense() for output in actual], expected, atol=1e-6)
    assert [output.outputs.num_terms for output in actual] == [2, 2]


def test_the_server_explains_the_cosine_that_it_ranks_by(tmp_path):

    from millpond_server.testing import running_server

    folder = tiny("BertForMaskedLM", tmp_path)
    write_sparse_encoder(folder)
    state(folder, similarity_fn_name="cosine")
    body = {"query": QUERIES[0], "documents": DOCUMENTS}
    with running_server(folder) as server:
        ranked = {
            each["index"]: each["relevance_score"]
            for each in server.request("POST", "/rerank", json=body).json()["results"]
        }
        explained = server.request("POST", "/explain", json=body).json()["data"]
    with LLM(str(folder), num_workers=1) as llm:
        scores = matrix(llm)[0].tolist()
    assert [ranked[index] for index in range(3)] == pytest.approx(scores, abs=1e-5)
    assert [each["score"] for each in explained] == pytest.approx(scores, abs=1e-5)
    assert max(scores) <= 1 + 1e-6
