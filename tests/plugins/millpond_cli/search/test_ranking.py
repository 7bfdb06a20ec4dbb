"""Ranking: similarities are those of sentence-transformers, and NaN is never a result."""

import numpy as np
import pytest
from sentence_transformers import util

from millpond_cli.search import ranking

REFERENCES = {
    "cosine": util.cos_sim,
    "dot": util.dot_score,
    "euclidean": util.euclidean_sim,
    "manhattan": util.manhattan_sim,
}


@pytest.mark.parametrize("kind", REFERENCES)
def test_similarities_are_those_of_sentence_transformers(monkeypatch, kind):
    random = np.random.default_rng(0)
    query, vectors = random.normal(size=8).astype(np.float32), random.normal(size=(50, 8)).astype(np.float32)
    monkeypatch.setattr(ranking, "ROWS_PER_BLOCK", 7)
    scores = ranking.similarities(kind, query, vectors)
    assert np.abs(scores - REFERENCES[kind](query, vectors).numpy()[0]).max() <= 1e-5


def test_the_best_are_in_order_and_equal_scores_keep_theirs():
    assert ranking.best(np.array([1, 3, np.nan, 3, 2], np.float32), 3) == [1, 3, 4]
    assert ranking.best(np.array([np.nan], np.float32), 3) == []
