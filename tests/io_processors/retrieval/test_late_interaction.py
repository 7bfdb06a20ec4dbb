"""ColBERT in each of its layouts equals the MultiVectorEncoder of sentence-transformers: vectors and scores."""

import json

import numpy as np
import pytest
import tokenizers
import torch
from safetensors.torch import load_file

from millpond import CheckpointError, InvalidInputError, PoolingParams
from millpond.testing.checkpoints import (
    DenseLayer,
    random_tensors,
    tiny,
    vocabulary,
    write_config,
    write_dense,
    write_weights,
)
from millpond_io.retrieval.late_interaction import query_markers

QUERIES = ["the cat", "", "what is a mill, and where?", "a hot day on the river " * 8]
DOCUMENTS = [
    "a small red bird in the tree.",
    "",
    "river",
    "the old mill stands by the long green river, (so) it is! " * 4,
]
DIM = 12


def change(path, **fields):
    config = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(config | fields))


def stanford(folder, *, metadata=None, **config):
    """Like colbert-ir/colbertv2.0: the projection beside the encoder, markers that are tokens."""
    tiny("BertModel", folder, prefix="bert.")
    settings = json.loads((folder / "config.json").read_text())
    write_config(folder, settings | {"architectures": ["HF_ColBERT"]} | config)
    tensors = load_file(folder / "model.safetensors")
    tensors |= random_tensors({"linear.weight": (DIM, 32), "bert.pooler.dense.weight": (32, 32)}, seed=3)
    tensors |= {"bert.pooler.dense.bias": torch.zeros(32)}
    write_weights(folder, tensors)
    tokens = folder / "tokenizer.json"
    tokens.write_text(tokens.read_text().replace('"##8"', '"[unused0]"').replace('"##9"', '"[unused1]"'))
    if metadata is not None:
        change(folder / "artifact.metadata", **metadata)
    return folder


def pylate(folder, *, added=True, architecture="BertModel", **settings):
    """Like lightonai/GTE-ModernColBERT-v1: the projection in a separate folder, markers that may be tokens."""
    tiny(architecture, folder, vocab_size=len(vocabulary("bert")) + 2)
    if added:
        path = str(folder / "tokenizer.json")
        tokenizer = tokenizers.Tokenizer.from_file(path)
        tokenizer.add_tokens(["[Q] ", "[D] "])
        tokenizer.save(path)
    write_dense(folder / "1_Dense", DenseLayer(in_features=32, out_features=DIM, bias=False))
    change(folder / "1_Dense" / "config.json", activation_function="torch.nn.modules.linear.Identity")
    types = ("sentence_transformers.models.Transformer", "pylate.models.Dense.Dense")
    lines = zip(("", "1_Dense"), types, strict=True)
    modules = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(lines)]
    (folder / "modules.json").write_text(json.dumps(modules))
    config = {"model_type": "ColBERT", "query_prefix": "[Q] ", "document_prefix": "[D] ", "prompts": {}}
    config |= {"query_length": 16, "document_length": 40, "similarity_fn_name": "MaxSim"}
    change(folder / "config_sentence_transformers.json", **(config | settings))
    return folder


def limited(folder, most):
    """With the file in which PyLate writes the maximum number of document tokens without the marker."""
    change(folder / "sentence_bert_config.json", max_seq_length=most, do_lower_case=False)
    return folder


LAYOUTS = {
    "stanford": lambda folder: stanford(folder, dim=DIM),
    "stanford, attended": lambda folder: stanford(
        folder,
        metadata={
            "query_maxlen": 20,
            "doc_maxlen": 30,
            "attend_to_mask_tokens": True,
            "mask_punctuation": False,
            "query_token_id": "[unused1]",
            "doc_token_id": "[unused0]",
            "dim": DIM,
        },
    ),
    "pylate": pylate,
    "pylate, markers as text": lambda folder: pylate(folder, added=False),
    "pylate, attended": lambda folder: pylate(folder, attend_to_expansion_tokens=True, skiplist_words=["the", ","]),
    "pylate, prompts": lambda folder: pylate(folder, prompts={"query": "what is ", "document": "[D] it is "}),
    "pylate, rotary": lambda folder: pylate(folder, architecture="ModernBertModel", query_length=40),
    "pylate, a maximum without the marker": lambda folder: limited(pylate(folder, document_length=20), 19),
    "pylate, longer queries": lambda folder: limited(pylate(folder, query_length=30, document_length=24), 23),
    "pylate, a maximum below the expansion": lambda folder: limited(
        pylate(folder, query_length=24, document_length=None), 15
    ),
    "pylate, not expanded": lambda folder: pylate(folder, do_query_expansion=False),
}


@pytest.fixture
def theirs(sentence_transformers):
    def theirs(folder):
        return sentence_transformers.MultiVectorEncoder(str(folder), device="cpu")

    return theirs


def ours(llm, texts, kind):
    params = PoolingParams(extra_kwargs={"input_type": kind}, truncate_prompt_tokens=-1)
    outputs = llm.encode(texts, params, pooling_task="token_embed", use_tqdm=False)
    return [output.outputs.array for output in outputs]


def same(vectors, expected):
    assert [len(rows) for rows in vectors] == [len(rows) for rows in expected]
    for one, other in zip(vectors, expected, strict=True):
        np.testing.assert_allclose(one, np.asarray(other), atol=2e-5)


def check(llm, model):
    queries = [np.asarray(rows) for rows in model.encode_query(QUERIES, convert_to_numpy=True)]
    documents = [np.asarray(rows) for rows in model.encode_document(DOCUMENTS, convert_to_numpy=True)]
    assert queries[0].shape[1] == DIM
    same(ours(llm, QUERIES, "query"), queries)
    same(ours(llm, DOCUMENTS, "document"), documents)
    for query, rows in zip(QUERIES, queries, strict=True):
        expected = [(rows @ other.T).max(axis=1).sum() for other in documents]
        actual = llm.score(query, DOCUMENTS, truncate_prompt_tokens=-1)
        np.testing.assert_allclose([output.outputs.score for output in actual], expected, rtol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_equals_theirs(tmp_path, load, theirs, layout):
    folder = LAYOUTS[layout](tmp_path / "model")
    check(load(folder), theirs(folder))


@pytest.mark.parametrize("layout", ["stanford", "pylate", "pylate, not expanded"])
def test_checkpoints_saved_by_sentence_transformers_also_work(tmp_path, load, theirs, layout):
    theirs(LAYOUTS[layout](tmp_path / "model")).save_pretrained(str(tmp_path / "saved"))
    assert json.loads((tmp_path / "saved" / "config_sentence_transformers.json").read_text())["model_type"]
    check(load(tmp_path / "saved"), theirs(tmp_path / "saved"))


@pytest.mark.parametrize(("query_length", "attend"), [(None, False), (24, True)])
def test_queries_may_be_longer_than_the_expansion(tmp_path, load, theirs, query_length, attend):
    folder = tmp_path / "saved"
    theirs(pylate(tmp_path / "model")).save_pretrained(str(folder))
    expansion = {"strategy": "min", "length": 12, "attend": attend, "token": "[UNK]"}
    change(folder / "sentence_bert_config.json", query_expansion=expansion, query_length=query_length)
    llm = load(folder)
    check(llm, theirs(folder))
    assert [len(rows) for rows in ours(llm, QUERIES, "query")] == [12, 12, 12, query_length or 51]


def test_only_token_vectors_are_returned_unless_a_text_vector_is_requested(tmp_path, load):
    folder = pylate(tmp_path)
    assert load(folder).model_config.tasks == ("token_embed",)
    for options in ({"convert": "embed"}, {"pooler_config": {"pooling_type": "MEAN"}}):
        llm = load(folder, **options)
        (output,) = llm.embed("the cat")
        assert output.outputs.array.shape == (DIM,)
        assert llm.model_config.pooler_config.task is None


def test_without_input_type_the_tokens_are_those_of_the_text(tmp_path, load):
    llm = load(stanford(tmp_path, dim=DIM))
    (output,) = llm.encode(["the cat."], pooling_task="token_embed", use_tqdm=False)
    assert output.outputs.array.shape == (5, DIM)
    assert output.prompt_token_ids == llm.get_tokenizer()("the cat.")["input_ids"]
    assert np.linalg.norm(output.outputs.array, axis=1) == pytest.approx(1)


@pytest.mark.parametrize("key", ["colbert_dim", "dim", "projection_dim"])
def test_the_dimensions_are_found_by_each_key(tmp_path, load, key):
    llm = load(stanford(tmp_path, **{key: DIM}))
    assert llm.model_config.embedding_size == DIM
    assert ours(llm, ["a"], "document")[0].shape == (4, DIM)


def test_the_error_for_missing_dimensions_states_the_fix(tmp_path, load):
    folder = stanford(tmp_path)
    with pytest.raises(CheckpointError, match=r"Expected one of: 'colbert_dim', 'dim', or 'projection_dim'"):
        load(folder)
    assert load(folder, hf_overrides={"dim": DIM}).model_config.tasks == ("token_embed",)


def test_results_do_not_depend_on_the_rest_of_the_batch(tmp_path, load):
    llm = load(stanford(tmp_path, dim=DIM))
    together = ours(llm, QUERIES, "query")
    same([ours(llm, [query], "query")[0] for query in QUERIES], together)


def test_embed_returns_the_token_vectors_of_queries_and_documents(tmp_path, load):
    llm = load(pylate(tmp_path))
    for kind in ("query", "document"):
        outputs = llm.embed(DOCUMENTS, input_type=kind, truncate_prompt_tokens=-1, use_tqdm=False)
        same([output.outputs.array for output in outputs], ours(llm, DOCUMENTS, kind))
    with pytest.raises(InvalidInputError, match="Embedding API is not supported by this model"):
        llm.embed("a", pooling_params=PoolingParams(task="embed"))


def test_an_unknown_input_type_is_refused(tmp_path, load):
    llm = load(stanford(tmp_path, dim=DIM))
    with pytest.raises(InvalidInputError, match="input_type='passage': expected 'query' or 'document'"):
        ours(llm, ["a"], "passage")


def test_a_model_without_queries_refuses_the_input_type(tiny_bert):
    with pytest.raises(InvalidInputError, match="input_type='query' is for models whose files define queries"):
        ours(tiny_bert, ["a"], "query")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [({"doc_maxlen": "long"}, "doc_maxlen must be a positive"), ({"query_token_id": 3}, "query_token_id must be text")],
    ids=str,
)
def test_the_error_names_invalid_artifact_metadata(tmp_path, load, metadata, message):
    folder = stanford(tmp_path, metadata=metadata, dim=DIM)
    with pytest.raises(CheckpointError, match=rf"artifact\.metadata: {message}"):
        load(folder)


@pytest.mark.parametrize("kind", [None, "query", "document"])
def test_several_results_of_a_text_that_is_read_as_one_side(tmp_path, load, kind):
    llm = load(stanford(tmp_path, dim=DIM))
    wanted = [{"task": "token_embed"}, {"task": "token_embed", "use_activation": False}]
    outputs = llm.represent(DOCUMENTS, wanted, input_type=kind, truncate_prompt_tokens=-1, use_tqdm=False)
    params = PoolingParams(use_activation=False)
    same([output.outputs.results[0].array for output in outputs], ours(llm, DOCUMENTS, kind))
    bare = llm.encode(DOCUMENTS, params, pooling_task="token_embed", input_type=kind, truncate_prompt_tokens=-1)
    same([output.outputs.results[1].array for output in outputs], [output.outputs.array for output in bare])


def test_all_results_are_of_one_side(tmp_path, load):
    llm = load(stanford(tmp_path, dim=DIM))
    params = {"task": "token_embed", "extra_kwargs": {"input_type": "document"}}
    for options in ({}, {"input_type": "query"}):
        with pytest.raises(
            InvalidInputError, match="must be set for the whole call: all results come from one forward pass"
        ):
            llm.represent("a", [params], **options)
    same(
        [llm.represent("a", [params], input_type="document")[0].outputs.results[0].array], ours(llm, ["a"], "document")
    )


@pytest.mark.parametrize(("is_query", "kind"), [(True, "query"), (False, "document")])
def test_is_query_equals_input_type(tmp_path, load, is_query, kind):
    llm = load(stanford(tmp_path, dim=DIM))
    (output,) = llm.encode("the cat.", pooling_task="token_embed", is_query=is_query, use_tqdm=False)
    same([output.outputs.array], ours(llm, ["the cat."], kind))


def native(theirs, tmp_path, modules=None, **settings):
    """Save a model with sentence-transformers and replace its modules."""
    saved = tmp_path / "saved"
    theirs(pylate(tmp_path / "model")).save_pretrained(str(saved))
    if modules is not None:
        path = saved / "modules.json"
        lines = {line["type"].rpartition(".")[2]: line for line in json.loads(path.read_text())}
        lines["WordWeights"] = {"path": "9_WordWeights", "type": "sentence_transformers.models.WordWeights"}
        path.write_text(json.dumps([lines[name] | {"idx": index} for index, name in enumerate(modules)]))
    change(saved / "config_sentence_transformers.json", **settings)
    return saved


def test_the_mean_over_the_tokens_of_the_query_where_the_model_compares_so(tmp_path, load, theirs):
    folder = native(theirs, tmp_path, similarity_fn_name="meanmaxsim")
    model, llm = theirs(folder), load(folder)
    for query in QUERIES:
        scores = model.similarity(model.encode_query([query]), model.encode_document(DOCUMENTS))[0].tolist()
        actual = llm.score(query, DOCUMENTS, truncate_prompt_tokens=-1)
        assert [output.outputs.score for output in actual] == pytest.approx(scores, rel=1e-4)
        pairs = llm.score([query] * len(DOCUMENTS), DOCUMENTS, truncate_prompt_tokens=-1)
        assert [output.outputs.score for output in pairs] == pytest.approx(scores, rel=1e-4)


def test_vectors_of_a_model_that_does_not_normalize_keep_their_length(tmp_path, load, theirs):
    folder = native(theirs, tmp_path, ["Transformer", "Dense", "MultiVectorMask"])
    llm = load(folder)
    check(llm, theirs(folder))
    assert np.abs(np.linalg.norm(ours(llm, QUERIES, "query")[0], axis=1) - 1).max() > 0.1


def without_ends(theirs, tmp_path):
    """A model that leaves out special tokens, and cats."""
    folder = native(theirs, tmp_path)
    (mask,) = (path for path in folder.glob("*/config.json") if "skiplist_words" in path.read_text())
    change(mask, skiplist_words=["[CLS]", "[SEP]", "cat"], skiplist_tasks=["query", "document"])
    change(folder / "sentence_bert_config.json", query_expansion=None)
    change(folder / "config_sentence_transformers.json", prompts={"query": "", "document": ""})
    return folder


def test_a_document_or_a_query_may_have_no_vectors(tmp_path, load, theirs):
    folder = without_ends(theirs, tmp_path)
    model, llm = theirs(folder), load(folder)
    documents = ["the cat", "cat", "river"]
    for query in ("mill", "cat"):
        expected = model.similarity(model.encode_query([query]), model.encode_document(documents))[0].tolist()
        assert min(expected) == -1e9
        assert [output.outputs.score for output in llm.score(query, documents)] == pytest.approx(expected, rel=1e-5)


def restricted(theirs, tmp_path, ids, **settings):
    """A model whose documents keep the vectors of these tokens alone."""
    folder = native(theirs, tmp_path)
    (mask,) = (path for path in folder.glob("*/config.json") if "skiplist_words" in path.read_text())
    change(mask, keep_only_token_ids=ids, **settings)
    return folder


def test_documents_keep_the_tokens_that_the_mask_names(tmp_path, load, theirs):
    words = vocabulary("bert")
    kept = ("[CLS]", "bird", "river", "mill", ".", "the")  # [CLS], so that an empty document keeps a token
    folder = restricted(theirs, tmp_path, [words[word] for word in kept])
    check(load(folder), theirs(folder))
    assert len(ours(load(folder), ["a bird , the mill ."], "document")[0]) == 4  # "." is on the list to skip too


def test_an_image_keeps_the_tokens_that_the_mask_names(tmp_path, load, theirs):
    llm = load(restricted(theirs, tmp_path, [50, 52]))
    markers = query_markers(llm.pipeline.ctx.for_task("token_embed"))
    kept = markers.readers["document"].kept(np.array([50, 51, 50, 52, 2]), is_image=True)
    assert kept is not None
    assert kept.tolist() == [True, False, True, True, False]


def test_ids_that_are_not_numbers_are_refused(tmp_path, load, theirs):
    with pytest.raises(CheckpointError, match="keep_only_token_ids must be a list of token ids"):
        load(restricted(theirs, tmp_path, ["[MASK]"]))


def test_the_server_ranks_and_explains_those_too(tmp_path, theirs):

    from millpond_server.testing import running_server

    with running_server(without_ends(theirs, tmp_path)) as server:
        for query in ("mill", "cat"):
            body = {"query": query, "documents": ["the cat", "cat"]}
            ranked = server.request("POST", "/rerank", json=body).json()["results"]
            explained = server.request("POST", "/explain", json=body).json()["data"]
            assert [(each["index"], each["relevance_score"]) for each in ranked] == [
                (each["index"], pytest.approx(each["score"], rel=1e-5)) for each in explained
            ]
            assert explained[1] == {"index": 1, "score": -1e9, "matches": []}


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        (
            ["Transformer", "Normalize", "Dense", "MultiVectorMask"],
            "order of modules: Transformer, Normalize, Dense, MultiVectorMask",
        ),
        (["Transformer", "Dense", "Normalize", "WordWeights"], "unsupported module WordWeights after the transformer"),
    ],
)
def test_modules_that_would_mean_something_else_are_refused(tmp_path, load, theirs, modules, message):
    with pytest.raises(CheckpointError, match=message):
        load(native(theirs, tmp_path, modules))
