"""Measure the latency of one short text and its stages, compared with sentence-transformers.

python benchmarks/latency.py [--short] [--contestants NAMES] [--rounds N] [--texts N] [--output FOLDER]

The contestants take turns in blocks of texts; each text is a separate call.
"""

from collections.abc import Mapping
from itertools import product
from statistics import mean, median
from typing import Any

from contest import Contest, alternate
from contestants import BY_NAME
from figures import quantile, quantiles_of_rounds, quotients
from settings import Result, Settings, new_result, read_settings, write
from workloads import short

BLOCK_TEXTS, SHORT_BLOCK_TEXTS = 100, 40  # in a full and in a short run
P50, P95 = 0.5, 0.95
MS_PER_SECOND = 1e3


def measure(settings: Settings) -> Result:
    """Measure blocks of texts in turns, then the stages of each text in Millpond."""
    result = new_result(settings)
    block = settings.count(BLOCK_TEXTS, SHORT_BLOCK_TEXTS)
    workload = short(settings.model.tokenizer, block * settings.rounds)
    with Contest(settings.environments) as contest:
        contest.load(settings.contestants, settings.model)
        contest.set_workload(workload)
        for worker in contest.workers.values():
            worker.ask("one_by_one", workload=workload.name, start=0, count=block)
        runs = alternate(
            contest.workers,
            settings.rounds,
            "one_by_one",
            f"{settings.model.name}, {workload.name}, {block} texts one by one",
            workload=workload.name,
            start=lambda number: number * block,
            count=block,
        )
        stages = {
            name: _stages(worker.ask("stages", workload=workload.name, count=block)["stages"])
            for name, worker in contest.workers.items()
            if BY_NAME[name].is_ours
        }
        result |= contest.describe()
    return {
        **result,
        "workload": workload.name,
        "fingerprint": workload.fingerprint,
        "tokens_of_a_text": mean(workload.lengths),
        "block": block,
        "rows": {name: _figures(blocks) for name, blocks in runs.items()},
        "ratios": _ratios(runs),
        "stages": stages,
    }


def _figures(blocks: list[dict[str, Any]]) -> Result:
    """Return percentiles of all texts in milliseconds, with the range of the percentiles of single blocks."""
    milliseconds = [[second * MS_PER_SECOND for second in block["seconds"]] for block in blocks]
    texts = sum(map(len, milliseconds))
    return {
        "p50_ms": quantiles_of_rounds(milliseconds, P50).as_dict(),
        "p95_ms": quantiles_of_rounds(milliseconds, P95).as_dict(),
        "cpu_ms": sum(block["cpu"] for block in blocks) / texts * MS_PER_SECOND,
        "p50_ms_of_blocks": [quantile(block, P50) for block in milliseconds],
        "p95_ms_of_blocks": [quantile(block, P95) for block in milliseconds],
    }


def _ratios(runs: Mapping[str, list[dict[str, Any]]]) -> list[Result]:
    """Return the median of each peer divided by that of each configuration of Millpond, per block."""
    medians = {name: [quantile(block["seconds"], P50) for block in blocks] for name, blocks in runs.items()}
    ours = [name for name in runs if BY_NAME[name].is_ours]
    peers = [name for name in runs if name not in ours]
    return [
        {"contestant": contestant, "peer": peer, "p50": quotients(medians[peer], medians[contestant]).as_dict()}
        for contestant, peer in product(ours, peers)
    ]


def _stages(texts: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each stage and of the whole call, in milliseconds."""
    whole = median(sum(text.values()) for text in texts)
    stages = {name: median(text[name] for text in texts) * MS_PER_SECOND for name in texts[0]}
    return {**stages, "whole": whole * MS_PER_SECOND}


if __name__ == "__main__":
    settings = read_settings("latency", __doc__, rounds=10, short_rounds=5)
    write(measure(settings), settings)
