"""Vectors of tokens become fewer: the same as by the HierarchicalTokenPooling of sentence-transformers."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from millpond import InvalidInputError, PoolingParams
from millpond.types.late_interaction import TokenPooling
from millpond_command.extras import install_command
from millpond_io.retrieval.token_pooling import pooled

DOCUMENTS = ["the old mill stands by the long green river, and the boat is on the pond", "rain", "a cat and a dog"]


def vectors(count, dim=24, seed=0):
    drawn = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def same(vectors, expected):
    assert vectors.shape == expected.shape
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


@pytest.mark.parametrize("factor", [1, 1.5, 2, 3, 8, 1000])
@pytest.mark.parametrize(("protected", "normalizes"), [(1, True), (0, True), (2, False)])
def test_token_pooling_equals_sentence_transformers(sentence_transformers, factor, protected, normalizes):
    from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

    module = HierarchicalTokenPooling(factor, num_protected_tokens=protected, normalize_embeddings=normalizes)
    pooling = TokenPooling(factor=factor, protected=protected, normalizes=normalizes)
    for count in (1, 2, 3, 17, 64, 150):
        rows = vectors(count, seed=count)
        pooled_vectors = pooled(rows, pooling)
        same(pooled_vectors, module.pool_one(torch.from_numpy(rows)).numpy())
        np.testing.assert_allclose(pooled_vectors[:protected], rows[:protected], atol=1e-6)


def test_similar_tokens_are_merged():
    one, other = vectors(2)
    pooled_vectors = pooled(np.stack([one, other, other, one, one, other]), TokenPooling(factor=3, protected=0))
    np.testing.assert_allclose(pooled_vectors, np.stack([other, one]), atol=1e-6)  # in scipy's order


@pytest.mark.parametrize("factor", [1.5, 2, 3, 8])
def test_vectors_that_are_not_of_length_1_equal_theirs_too(sentence_transformers, factor):
    from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

    module = HierarchicalTokenPooling(factor, num_protected_tokens=1, normalize_embeddings=False)
    for count in (5, 17, 40):
        rows = 3 * vectors(count, dim=6, seed=count)  # many distances are cut off to be 0, or 2: equal ones
        pooled_vectors = pooled(rows, TokenPooling(factor=factor, protected=1, normalizes=False))
        same(pooled_vectors, module.pool_one(torch.from_numpy(rows)).numpy())


def test_merges_of_equal_cost_are_done_together_as_in_the_reference(sentence_transformers):
    from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

    one, other = vectors(2)
    rows = np.stack([one, one, one, one, other])  # three merges cost nothing, and one would do
    pooled_vectors = pooled(rows, TokenPooling(factor=1.25, protected=0))
    theirs = HierarchicalTokenPooling(1.25, num_protected_tokens=0).pool_one(torch.from_numpy(rows)).numpy()
    assert len(pooled_vectors) == len(theirs) == 2
    same(pooled_vectors, theirs)


def ask(llm, texts, task="token_embed", **extra):
    params = PoolingParams(extra_kwargs=extra) if extra else None
    return [output.outputs.array for output in llm.encode(texts, params, pooling_task=task, use_tqdm=False)]


def test_a_call_can_request_token_pooling(tiny_bert):
    whole, half = ask(tiny_bert, DOCUMENTS), ask(tiny_bert, DOCUMENTS, pool_factor=2)
    for rows, fewer in zip(whole, half, strict=True):
        assert len(fewer) == 1 + max((len(rows) - 1) // 2, 1)
        same(fewer, pooled(rows, TokenPooling(factor=2)))
    wanted = [{"task": "token_embed", "extra_kwargs": {"pool_factor": 2}}, {"task": "token_embed"}]
    (output,) = tiny_bert.represent(DOCUMENTS[0], wanted, use_tqdm=False)
    same(output.outputs.results[0].array, half[0])
    same(output.outputs.results[1].array, whole[0])


@pytest.mark.parametrize("factor", [0.5, "2", True, float("nan"), float("inf")], ids=str)
def test_another_factor_is_refused(tiny_bert, factor):
    with pytest.raises(InvalidInputError, match="pool_factor must be a number of at least 1"):
        ask(tiny_bert, "a", pool_factor=factor)


def test_one_vector_a_text_cannot_become_fewer(tiny_bert):
    with pytest.raises(InvalidInputError, match="pool_factor is for 'token_embed'"):
        ask(tiny_bert, "a", task="embed", pool_factor=2)


def test_the_settings_of_the_checkpoint_are_applied(tmp_path, load, sentence_transformers):
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

    from millpond.testing.checkpoints import tiny

    tiny("BertModel", tmp_path / "model")
    model = MultiVectorEncoder(str(tmp_path / "model"), device="cpu")
    model.append(HierarchicalTokenPooling(2.0, num_protected_tokens=2))
    model.save_pretrained(str(tmp_path / "saved"))
    assert "HierarchicalTokenPooling" in (tmp_path / "saved" / "modules.json").read_text()
    theirs, llm = MultiVectorEncoder(str(tmp_path / "saved"), device="cpu"), load(tmp_path / "saved")
    queries = [np.asarray(rows) for rows in theirs.encode_query(DOCUMENTS, convert_to_numpy=True)]
    documents = [np.asarray(rows) for rows in theirs.encode_document(DOCUMENTS, convert_to_numpy=True)]
    for vectors, expected in zip(ask(llm, DOCUMENTS, input_type="query"), queries, strict=True):
        same(vectors, expected)
    for vectors, expected in zip(ask(llm, DOCUMENTS, input_type="document"), documents, strict=True):
        same(vectors, expected)
    scores = [output.outputs.score for output in llm.score(DOCUMENTS[0], DOCUMENTS, use_tqdm=False)]
    expected = [(queries[0] @ rows.T).max(axis=1).sum() for rows in documents]
    np.testing.assert_allclose(scores, expected, rtol=1e-4)
    assert json.loads((tmp_path / "saved" / "config_sentence_transformers.json").read_text())["model_type"]


def test_without_scipy_the_error_contains_the_install_command(tiny_bert, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.cluster.hierarchy", None)
    with pytest.raises(
        InvalidInputError, match=r"requires scipy: " + re.escape(install_command("retrieval"))
    ) as caught:
        ask(tiny_bert, "a", pool_factor=2)
    assert caught.value.parameter == "pool_factor"


@pytest.mark.slow
def test_importing_the_processor_does_not_import_scipy():
    program = "import sys, millpond_io.tasks.embed; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
