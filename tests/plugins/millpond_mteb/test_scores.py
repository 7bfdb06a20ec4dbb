"""Tasks on local data have the same scores as with sentence-transformers, with prompts for queries and documents."""

import json
import shutil

import numpy as np
import pytest

mteb = pytest.importorskip("mteb", reason="needs the extra mteb: make test-mteb")

from mteb.models.sentence_transformer_wrapper import (  # noqa: E402  after the check
    CrossEncoderWrapper,
    MultiVectorWrapper,
    SentenceTransformerEncoderWrapper,
)

from millpond_mteb import MillpondCrossEncoder, MillpondEncoder, MillpondMultiVector  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")  # of mteb and scikit-learn
PROMPTS = {"query": "question: ", "document": "answer: ", "STS": "same meaning: "}


def scores_of(model, tasks):
    results = mteb.evaluate(model, tasks, cache=None, show_progress_bar=False, num_proc=None)
    return {
        (result.task_name, name): value
        for result in results.task_results
        for name, value in result.scores["test"][0].items()
        if isinstance(value, float)
    }


def assert_same_scores(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert len(ours) > 20
    different = {name: (ours[name], theirs[name]) for name in ours if abs(ours[name] - theirs[name]) >= 5e-5}
    assert different == {}


@pytest.mark.parametrize("prompts", [None, PROMPTS], ids=["no prompts", "prompts"])
def test_embedding_model_has_the_scores_of_sentence_transformers(minilm, reference, local_tasks, prompts):
    theirs = scores_of(SentenceTransformerEncoderWrapper(reference, model_prompts=prompts), local_tasks)
    assert 0.5 < theirs["MockRetrievalTask", "main_score"] < 1
    assert_same_scores(scores_of(MillpondEncoder(minilm, model_prompts=prompts), local_tasks), theirs)


def test_prompts_of_the_checkpoint_are_applied(dense_folder, sentence_transformers, local_tasks):
    reference = sentence_transformers.SentenceTransformer(str(dense_folder), device="cpu")
    theirs = scores_of(SentenceTransformerEncoderWrapper(reference), local_tasks)
    assert_same_scores(scores_of(MillpondEncoder(str(dense_folder)), local_tasks), theirs)


def test_cross_encoder_has_the_scores_of_sentence_transformers(pair_folder, sentence_transformers, local_tasks):
    reference = sentence_transformers.CrossEncoder(str(pair_folder), device="cpu")
    reranking = [local_tasks[1]]
    theirs = scores_of(CrossEncoderWrapper(reference, query_prefix="question: "), reranking)
    assert_same_scores(scores_of(MillpondCrossEncoder(str(pair_folder), query_prefix="question: "), reranking), theirs)


def test_late_interaction_has_the_scores_of_sentence_transformers(late_folder, sentence_transformers, local_tasks):
    reference = sentence_transformers.MultiVectorEncoder(str(late_folder), device="cpu")
    retrieval = local_tasks[:2]
    theirs = scores_of(MultiVectorWrapper(reference), retrieval)
    assert_same_scores(scores_of(MillpondMultiVector(str(late_folder)), retrieval), theirs)


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean", "manhattan"])
def test_similarity_is_the_one_that_the_checkpoint_declares(dense_folder, tmp_path, sentence_transformers, name):
    folder = tmp_path / "model"
    shutil.copytree(dense_folder, folder)
    config = folder / "config_sentence_transformers.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"similarity_fn_name": name}))
    encoder = MillpondEncoder(str(folder), num_workers=1)
    reference = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    vectors = encoder.model.embed(["the mill", "a river", "the cat"], output="array", use_tqdm=False)
    np.testing.assert_allclose(encoder.similarity(vectors, vectors), reference.similarity(vectors, vectors), rtol=1e-6)
    pairs = encoder.similarity_pairwise(vectors, vectors[::-1].copy())
    np.testing.assert_allclose(pairs, reference.similarity_pairwise(vectors, vectors[::-1].copy()), rtol=1e-6)
    assert encoder.mteb_model_meta.similarity_fn_name.value == name
