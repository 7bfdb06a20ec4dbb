"""How long does one short text take through a warm model, beside sentence-transformers? Where does the time go?

python benchmarks/latency.py [--short] [--contestants NAMES] [--rounds N] [--texts N] [--output FOLDER]

The contestants take turns in blocks of texts, each text a call of its own.
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

BLOCK, SHORT_BLOCK = 100, 40  # texts that a contestant embeds before the next one's turn
MIDDLE, TAIL = 0.5, 0.95
MILLI = 1e3


def measure(settings: Settings) -> Result:
    """Blocks of texts in turns; then, for Millpond, the stages of each text."""
    result = new_result(settings)
    block = settings.count(BLOCK, SHORT_BLOCK)
    workload = short(settings.model.tokenizer, block * settings.rounds)
    with Contest(settings.environments) as contest:
        contest.enter(settings.contestants, settings.model)
        contest.give(workload)
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
    """Percentiles over all texts, with the range of the single blocks' ones, in milliseconds."""
    milliseconds = [[second * MILLI for second in block["seconds"]] for block in blocks]
    texts = sum(map(len, milliseconds))
    return {
        "p50_ms": quantiles_of_rounds(milliseconds, MIDDLE).as_dict(),
        "p95_ms": quantiles_of_rounds(milliseconds, TAIL).as_dict(),
        "cpu_ms": sum(block["cpu"] for block in blocks) / texts * MILLI,
        "p50_ms_of_blocks": [quantile(block, MIDDLE) for block in milliseconds],
        "p95_ms_of_blocks": [quantile(block, TAIL) for block in milliseconds],
    }


def _ratios(runs: Mapping[str, list[dict[str, Any]]]) -> list[Result]:
    """How many times as long the median text takes in each peer as in each of ours, block by block."""
    medians = {name: [quantile(block["seconds"], MIDDLE) for block in blocks] for name, blocks in runs.items()}
    ours, peers = [[name for name in runs if BY_NAME[name].is_ours == own] for own in (True, False)]
    return [
        {"contestant": own, "peer": peer, "p50": quotients(medians[peer], medians[own]).as_dict()}
        for own, peer in product(ours, peers)
    ]


def _stages(texts: list[dict[str, float]]) -> dict[str, float]:
    """The median of each stage, and of the whole call, in milliseconds."""
    whole = median(sum(text.values()) for text in texts)
    return {**{name: median(text[name] for text in texts) * MILLI for name in texts[0]}, "whole": whole * MILLI}


if __name__ == "__main__":
    chosen = read_settings("latency", __doc__, rounds=10, short_rounds=5)
    write(measure(chosen), chosen)
