"""Measure MaxSim of one query and many documents, compared with sentence-transformers.

python benchmarks/maxsim.py [--short] [--rounds N] [--texts N] [--output FOLDER]

Both score the same vectors in this process, in turns and with one thread: a query of 32 tokens and 1,000 documents of
20 to 300 tokens, 128 dimensions. Millpond scores arrays, like the outputs of its models, and its time includes
concatenating them; sentence-transformers, in the version of this environment, scores tensors.
"""

import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from figures import Spread, quotients
from settings import Result, Settings, new_result, read_settings, write

QUERY_TOKENS, DIMENSIONS = 32, 128
MIN_DOCUMENT_TOKENS, MAX_DOCUMENT_TOKENS = 20, 300
PEER = "st-torch"
Score = Callable[[], Sequence[float]]
MS_PER_SECOND = 1000


def vectors(count: int) -> list[Any]:
    """Return random normalised vectors of the tokens of a query, followed by those of each document."""
    random = np.random.default_rng(0)
    lengths = [QUERY_TOKENS, *random.integers(MIN_DOCUMENT_TOKENS, MAX_DOCUMENT_TOKENS + 1, count).tolist()]
    texts = [random.standard_normal((length, DIMENSIONS)).astype(np.float32) for length in lengths]
    return [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in texts]


def scorers(rows: Sequence[Any]) -> dict[str, Score]:
    """Return the scoring functions of both contestants."""
    import torch  # noqa: PLC0415  takes seconds; --help does not need it
    from sentence_transformers.util.similarity import maxsim  # noqa: PLC0415  as above

    from millpond.plugin.manager import PluginManager  # noqa: PLC0415  as above
    from millpond.testing.contexts import bare_context  # noqa: PLC0415
    from millpond_io.scoring.maxsim import MaxSim  # noqa: PLC0415

    torch.set_num_threads(1)
    query, *documents = rows
    tensors = [torch.from_numpy(each) for each in rows]
    millpond_maxsim = MaxSim(bare_context(PluginManager().registry, tasks=("token_embed",)).for_task("token_embed"))

    def ours() -> list[float]:
        return list(millpond_maxsim([(query, document) for document in documents]))

    def peers() -> list[float]:
        scores: list[float] = maxsim(tensors[:1], tensors[1:])[0].tolist()
        return scores

    return {"millpond": ours, PEER: peers}


def measure(settings: Settings) -> Result:
    """Measure both in turns, after a round of warm-up."""
    result, count = new_result(settings), settings.count(1000, 200)
    functions = scorers(vectors(count))
    scores = {name: score() for name, score in functions.items()}
    largest_difference = max(abs(one - other) for one, other in zip(*scores.values(), strict=True))
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in functions}
    for _ in range(settings.rounds):
        for name, score in functions.items():
            cpu, wall = time.process_time(), time.perf_counter()
            score()
            runs[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    rows = {}
    for name, rounds in runs.items():
        cpu_seconds, wall_seconds = zip(*rounds, strict=True)
        rows[name] = {
            "cpu_ms": Spread.of([second * MS_PER_SECOND for second in cpu_seconds]).as_dict(),
            "wall_ms": Spread.of([second * MS_PER_SECOND for second in wall_seconds]).as_dict(),
            "times_as_fast": quotients([second for second, _ in runs[PEER]], cpu_seconds).as_dict(),
        }
    return {
        **result,
        "model": "none",
        "documents": count,
        "largest_difference": largest_difference,
        "peer": f"sentence-transformers {version('sentence-transformers')}",
        "rows": rows,
    }


if __name__ == "__main__":
    settings = read_settings("maxsim", __doc__)
    write(measure(settings), settings)
