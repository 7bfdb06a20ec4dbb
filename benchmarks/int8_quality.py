"""What does int8 cost in quality? Its vectors and its neighbours beside those of float32, for Millpond and its peers.

python benchmarks/int8_quality.py [--short] [--contestants NAMES] [--texts N] [--output FOLDER]

The yardstick is sentence-transformers with torch in float32. Neighbours are looked up the way they are in use: queries
and texts both embedded by the contestant.
"""

import numpy as np
from contest import Contest
from contestants import REFERENCE, chosen
from numpy.typing import NDArray
from settings import Result, Settings, new_result, read_settings, write
from vectors import Vectors, cosines, unit
from workloads import prose

NEIGHBOURS = 10
QUERY_SEED = 20261124
SMALLEST_SHARE = 10  # so many times fewer queries than texts


def compare(texts: Vectors, queries: Vectors, reference: tuple[Vectors, Vectors]) -> dict[str, float]:
    """How alike two embeddings of the same texts and queries are.

    Args:
        texts: The vectors of the texts, [num_texts, dim].
        queries: The vectors of the queries, [num_queries, dim].
        reference: The same of the yardstick.

    Returns:
        Mean and minimum of the cosines of the texts, and the mean share of the yardstick's nearest texts of a query
        that are among the nearest here too.
    """
    alike = cosines(texts, reference[0])
    own, wanted = _neighbours(texts, queries), _neighbours(*reference)
    shared = [len(set(a) & set(b)) / len(b) for a, b in zip(own.tolist(), wanted.tolist(), strict=True)]
    return {
        "cosine_mean": float(alike.mean()),
        "cosine_min": float(alike.min()),
        "overlap": float(np.mean(shared)),
        "overlap_min": float(np.min(shared)),
    }


def measure(settings: Settings) -> Result:
    """All contestants on the same texts and queries."""
    result = new_result(settings)
    texts = prose(settings.model.tokenizer, settings.count(2000, 300))
    count = max(len(texts.texts) // SMALLEST_SHARE, 1)
    queries = prose(settings.model.tokenizer, count, seed=QUERY_SEED)
    taking_part = settings.contestants
    if REFERENCE not in [contestant.name for contestant in taking_part]:
        taking_part = [*taking_part, *chosen((REFERENCE,))]
    found: dict[str, list[Vectors]] = {}
    with Contest(settings.environments) as contest:
        contest.enter(taking_part, settings.model)
        for workload in (texts, queries):
            for worker in contest.workers.values():
                worker.ask("texts", workload=workload.name, texts=list(workload.texts))
            for name, vectors in contest.vectors(workload, len(workload.texts)).items():
                found.setdefault(name, []).append(vectors)
        result |= contest.describe()
    reference = found[REFERENCE][0], found[REFERENCE][1]
    return {
        **result,
        "texts": len(texts.texts),
        "queries": count,
        "neighbours": NEIGHBOURS,
        "fingerprint": texts.fingerprint,
        "rows": {name: compare(vectors[0], vectors[1], reference) for name, vectors in found.items()},
    }


def _neighbours(texts: Vectors, queries: Vectors) -> NDArray[np.intp]:
    """The places of the nearest texts of each query, [num_queries, NEIGHBOURS], in no order."""
    count = min(NEIGHBOURS, len(texts))
    found: NDArray[np.intp] = np.argsort(-(unit(queries) @ unit(texts).T), axis=1)[:, :count]
    return found


if __name__ == "__main__":
    given = read_settings("int8_quality", __doc__, rounds=1, short_rounds=1)
    write(measure(given), given)
