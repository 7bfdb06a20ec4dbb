"""Measure the quality of int8: vectors and neighbours compared with float32, for Millpond and its peers.

python benchmarks/int8_quality.py [--short] [--contestants NAMES] [--texts N] [--output FOLDER]

The reference is sentence-transformers with torch in float32. For neighbours, both queries and texts are embedded by the
contestant, as in practice.
"""

import numpy as np
from contest import Contest
from contestants import REFERENCE, find_contestants
from numpy.typing import NDArray
from settings import Result, Settings, new_result, read_settings, write
from vectors import Vectors, cosines, unit
from workloads import prose

NEIGHBOURS = 10
QUERY_SEED = 20261124
TEXTS_PER_QUERY = 10


def compare(texts: Vectors, queries: Vectors, reference: tuple[Vectors, Vectors]) -> dict[str, float]:
    """Compare two embeddings of the same texts and queries.

    Args:
        texts: The vectors of the texts, [num_texts, dim].
        queries: The vectors of the queries, [num_queries, dim].
        reference: The vectors of texts and queries of the reference.

    Returns:
        The mean and minimum cosine of the texts, and the mean and minimum share of the reference's nearest texts of a
        query that are also among the nearest texts here.
    """
    values = cosines(texts, reference[0])
    neighbours, expected = _neighbours(texts, queries), _neighbours(*reference)
    shared = [len(set(a) & set(b)) / len(b) for a, b in zip(neighbours.tolist(), expected.tolist(), strict=True)]
    return {
        "cosine_mean": float(values.mean()),
        "cosine_min": float(values.min()),
        "overlap": float(np.mean(shared)),
        "overlap_min": float(np.min(shared)),
    }


def measure(settings: Settings) -> Result:
    """Compare all contestants on the same texts and queries."""
    result = new_result(settings)
    texts = prose(settings.model.tokenizer, settings.count(2000, 300))
    count = max(len(texts.texts) // TEXTS_PER_QUERY, 1)
    queries = prose(settings.model.tokenizer, count, seed=QUERY_SEED)
    contestants = settings.contestants
    if REFERENCE not in [contestant.name for contestant in contestants]:
        contestants = [*contestants, *find_contestants((REFERENCE,))]
    embedded: dict[str, list[Vectors]] = {}  # texts and queries
    with Contest(settings.environments) as contest:
        contest.load(contestants, settings.model)
        for workload in (texts, queries):
            for worker in contest.workers.values():
                worker.ask("texts", workload=workload.name, texts=list(workload.texts))
            for name, vectors in contest.vectors(workload, len(workload.texts)).items():
                embedded.setdefault(name, []).append(vectors)
        result |= contest.describe()
    reference = embedded[REFERENCE][0], embedded[REFERENCE][1]
    return {
        **result,
        "texts": len(texts.texts),
        "queries": count,
        "neighbours": NEIGHBOURS,
        "fingerprint": texts.fingerprint,
        "rows": {name: compare(vectors[0], vectors[1], reference) for name, vectors in embedded.items()},
    }


def _neighbours(texts: Vectors, queries: Vectors) -> NDArray[np.intp]:
    """Return the indices of the nearest texts of each query, [num_queries, NEIGHBOURS]."""
    count = min(NEIGHBOURS, len(texts))
    nearest: NDArray[np.intp] = np.argsort(-(unit(queries) @ unit(texts).T), axis=1)[:, :count]
    return nearest


if __name__ == "__main__":
    settings = read_settings("int8_quality", __doc__, rounds=1, short_rounds=1)
    write(measure(settings), settings)
