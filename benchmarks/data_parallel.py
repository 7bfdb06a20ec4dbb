"""Compare the throughput of engine processes with one engine: python benchmarks/data_parallel.py [--engines 2].

Both configurations use all cores that the process may use. They alternate, and the median of the repetitions counts.
On two cores the ratio should be at least 0.95.
"""

import argparse
import random
import statistics
from time import perf_counter

from millpond import LLM

WORDS = ("cat", "mat", "rain", "harbour", "boats", "came", "home", "while", "fell", "over", "the", "a")


def texts(count: int, seed: int) -> list[str]:
    """Return random texts of 4 to 120 words."""
    chance = random.Random(seed)  # noqa: S311  not for security
    return [" ".join(chance.choices(WORDS, k=chance.randint(4, 120))) for _ in range(count)]


def seconds(llm: LLM, prompts: list[str]) -> float:
    """Return the duration of one call."""
    began = perf_counter()
    llm.embed(prompts, use_tqdm=False)
    return perf_counter() - began


def main() -> None:
    """Print the texts per second of both configurations, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--engines", type=int, default=2)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    rates: dict[str, list[float]] = {"one engine": [], "engine processes": []}
    with LLM(options.model) as one, LLM(options.model, data_parallel_size=options.engines) as several:
        models = dict(zip(rates, (one, several), strict=True))
        for llm in models.values():
            llm.embed(texts(200, seed=0), use_tqdm=False)  # fills caches
        for repeat in range(options.repeats):
            prompts = texts(options.texts, seed=repeat + 1)
            for name, llm in models.items():
                rates[name].append(len(prompts) / seconds(llm, prompts))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, values in rates.items():
        print(f"{name:18} {medians[name]:8.1f} texts/s  (range {min(values):.1f} to {max(values):.1f})")
    print(f"ratio              {medians['engine processes'] / medians['one engine']:8.2f}")


if __name__ == "__main__":
    main()
