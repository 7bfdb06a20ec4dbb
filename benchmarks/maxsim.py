"""How long does late interaction take? MaxSim of one query with many documents, beside sentence-transformers' own.

python benchmarks/maxsim.py [--short] [--rounds N] [--texts N] [--output FOLDER]

Both score the same vectors, in this process and in turns, with one thread: a query of 32 tokens and 1,000 documents of
20 to 300, 128 dimensions. Millpond's are arrays, as its models give them, which are copied end to end meanwhile;
its peer's are tensors. The peer is the sentence-transformers of this environment.
"""

import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from figures import Spread, quotients
from settings import Result, Settings, new_result, read_settings, write

QUERY_TOKENS, DIMENSIONS = 32, 128
SHORTEST, LONGEST = 20, 300
PEER = "st-torch"
Score = Callable[[], Sequence[float]]
MILLISECONDS = 1000


def vectors(count: int) -> list[Any]:
    """The vectors of a query, then those of so many documents: random, of length 1."""
    random = np.random.default_rng(0)
    lengths = [QUERY_TOKENS, *random.integers(SHORTEST, LONGEST + 1, count).tolist()]
    drawn = [random.standard_normal((length, DIMENSIONS)).astype(np.float32) for length in lengths]
    return [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in drawn]


def scorers(rows: Sequence[Any]) -> dict[str, Score]:
    """What each has to do."""
    import torch  # noqa: PLC0415  seconds to import; --help does not wait for it
    from sentence_transformers.util.similarity import maxsim  # noqa: PLC0415  likewise

    from millpond.plugin.manager import PluginManager  # noqa: PLC0415  likewise
    from millpond.testing.contexts import bare_context  # noqa: PLC0415
    from millpond_io.scoring.maxsim import MaxSim  # noqa: PLC0415

    torch.set_num_threads(1)
    query, *documents = rows
    tensors = [torch.from_numpy(each) for each in rows]
    own = MaxSim(bare_context(PluginManager().registry, tasks=("token_embed",)).for_task("token_embed"))

    def ours() -> list[float]:
        return list(own([(query, document) for document in documents]))

    def theirs() -> list[float]:
        scores: list[float] = maxsim(tensors[:1], tensors[1:])[0].tolist()
        return scores

    return {"millpond": ours, PEER: theirs}


def measure(settings: Settings) -> Result:
    """In turns, after one round that does not count."""
    result, count = new_result(settings), settings.count(1000, 200)
    each = scorers(vectors(count))
    found = {name: score() for name, score in each.items()}
    apart = max(abs(one - other) for one, other in zip(*found.values(), strict=True))
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in each}
    for _ in range(settings.rounds):
        for name, score in each.items():
            cpu, wall = time.process_time(), time.perf_counter()
            score()
            runs[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    rows = {}
    for name, done in runs.items():
        cpu_seconds, wall_seconds = zip(*done, strict=True)
        rows[name] = {
            "cpu_ms": Spread.of([second * MILLISECONDS for second in cpu_seconds]).as_dict(),
            "wall_ms": Spread.of([second * MILLISECONDS for second in wall_seconds]).as_dict(),
            "times_as_fast": quotients([second for second, _ in runs[PEER]], cpu_seconds).as_dict(),
        }
    return {
        **result,
        "model": "none",
        "documents": count,
        "largest_difference": apart,
        "peer": f"sentence-transformers {version('sentence-transformers')}",
        "rows": rows,
    }


if __name__ == "__main__":
    chosen = read_settings("maxsim", __doc__)
    write(measure(chosen), chosen)
