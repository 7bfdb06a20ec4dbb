"""Measure the time of results from the cache against computing them.

python benchmarks/cache.py [--short] [--rounds N] [--texts N] [--model FOLDER] [--output FOLDER]

The same texts are embedded without a cache, from the cache in memory, and from the cache on disk, in one process and in
turns: all in one call, then one per call. Hits still tokenise. The misses of an empty cache show what storing costs.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from environments import console
from figures import Spread, quotients
from settings import Result, Settings, new_result, read_settings, write
from workloads import prose

SIDES = ("computed", "memory", "disk")
TEXTS_ONE_BY_ONE = 50


def measure(settings: Settings) -> Result:
    """Measure hits against computing, then misses against computing."""
    workload = prose(settings.model.tokenizer, settings.count(4000, 300))
    texts, model = list(workload.texts), str(settings.model.folder)
    result = new_result(settings) | {
        "workload": workload.name,
        "texts": len(texts),
        "fingerprint": workload.fingerprint,
    }
    with tempfile.TemporaryDirectory(prefix="millpond-cache-") as folder, ExitStack() as stack:
        hits = _measure_hits(settings, model, texts, Path(folder), stack)
        return {**result, "hits": hits, "misses": _measure_misses(settings, model, texts, Path(folder))}


def _measure_hits(settings: Settings, model: str, texts: list[str], folder: Path, stack: ExitStack) -> Result:
    llms = {name: stack.enter_context(_load(model, cache)) for name, cache in _caches(folder / "hits").items()}
    for llm in llms.values():
        llm.embed(texts, use_tqdm=False)

    def call_for_all(llm: Any) -> Callable[[], float]:
        return lambda: _seconds(lambda: llm.embed(texts, use_tqdm=False))

    def call_for_each(llm: Any) -> Callable[[], float]:
        calls = [partial(llm.embed, text, use_tqdm=False) for text in texts[:TEXTS_ONE_BY_ONE]]
        return lambda: statistics.median(map(_seconds, calls))

    one_call = _alternate(settings, "one call", {name: call_for_all(llm) for name, llm in llms.items()})
    one_by_one = _alternate(settings, "one text per call", {name: call_for_each(llm) for name, llm in llms.items()})
    for name in SIDES[1:]:
        if llms[name].cache.misses != len(set(texts)):
            message = f"the cache {name} computed texts again: {llms[name].cache.misses} for {len(texts)}"
            raise RuntimeError(message)
    return {"one_call": one_call, "one_text_per_call": one_by_one}


def _measure_misses(settings: Settings, model: str, texts: list[str], folder: Path) -> Result:
    """Embed with caches that are empty in each round; closing them is part of the time."""
    numbers = iter(range(1_000_000))

    def side(name: str) -> Callable[[], float]:
        def run() -> float:
            llm = _load(model, _caches(folder / f"misses-{next(numbers)}")[name])

            def embed_and_close() -> None:
                with llm:
                    llm.embed(texts, use_tqdm=False)

            return _seconds(embed_and_close)

        return run

    return _alternate(settings, "misses", {name: side(name) for name in SIDES})


def _alternate(settings: Settings, label: str, sides: dict[str, Callable[[], float]]) -> Result:
    """Run all sides in turns, after a round of warm-up; return seconds, and how much faster a cache is."""
    runs: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(settings.rounds + 1):
        console.print(f"{label}: round {number} of {settings.rounds}")
        for name, side in sides.items():
            seconds = side()
            if number:
                runs[name].append(seconds)
    return {
        "seconds": {name: Spread.of(values).as_dict() for name, values in runs.items()},
        "computed_over": {name: quotients(runs["computed"], runs[name]).as_dict() for name in SIDES[1:]},
    }


def _caches(folder: Path) -> dict[str, str | None]:
    return {"computed": None, "memory": "memory", "disk": str(folder)}


def _load(model: str, cache: str | None) -> Any:
    from millpond import LLM  # noqa: PLC0415  takes seconds; --help does not need it

    return LLM(model, cache=cache)


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


if __name__ == "__main__":
    settings = read_settings("cache", __doc__)
    write(measure(settings), settings)
