"""Decisions drawn from the rows of gpu_all.py: the kernels that may become default, and the size of batches."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any

from gpu_models import MAXSIM_GOAL_MS, QUERY_GOAL_MS, WORKS

Row = Mapping[str, Any]
MIN_COSINE = 0.999  # between a vector in bfloat16 and that of transformers in float32
MAX_GRAPH_TIME = 0.9  # relative to the time without a graph
NEARLY_BEST = 0.97  # a smaller batch is preferred if it reaches this share of the best speed


def decide(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the decisions that the measured sections permit; each is missing without its rows."""
    rows = {name: section["rows"] for name, section in sections.items()}
    decisions: dict[str, Any] = {}
    if kernels := conforming(rows.get("conformance", ())):
        decisions["kernels"] = kernels
    if parity := rows.get("parity"):
        cosines = {
            f"{it['model']}, {it['dtype']}, {it.get('attention') or it['side']}": it.get("min_cosine") for it in parity
        }
        passed = all(it is not None and it >= MIN_COSINE for it in cosines.values())
        decisions["parity"] = {"passed": passed, "min_cosines": cosines}
    if measured := _speeds(rows.get("throughput", ())):
        decisions["attention"] = fastest_attention(measured, decisions.get("kernels", {}))
        decisions["batch_tokens"] = batch_tokens(measured)
        decisions["goals"] = goals(measured, rows["throughput"])
    if scores := [it for it in rows.get("maxsim", ()) if "ms" in it]:
        best = min(scores, key=lambda it: it["ms"])
        decisions["maxsim"] = {**best, "goal_ms": MAXSIM_GOAL_MS}
    queries = [it["query_ms"] for it in rows.get("texts", ()) if "query_ms" in it and it["side"] == "millpond"]
    if queries:
        decisions["query"] = {"ms": min(queries), "goal_ms": QUERY_GOAL_MS}
    if graphs := [it for it in rows.get("graphs", ()) if it.get("refusal") == ""]:
        decisions["graph_tokens"] = graph_tokens(graphs)
    if flights := [it for it in rows.get("pipeline", ()) if "tokens_per_second" in it]:
        decisions["batches_in_flight"] = batches_in_flight(flights)
    if served := [it for it in rows.get("http", ()) if "tokens_per_second" in it]:
        decisions["http_tokens_per_second"] = max(it["tokens_per_second"] for it in served)
    if "syncs" in rows:
        decisions["models_that_wait"] = {it["model"]: it["syncs"] for it in rows["syncs"] if it.get("syncs")}
    return decisions


def conforming(rows: Iterable[Row]) -> dict[str, dict[str, Any]]:
    """Return the numbers of outcomes of each kernel, and True if all tests that ran passed, at least one of them."""
    outcomes: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in rows:
        if "kernel" in row:
            outcomes[row["kernel"]][row["outcome"]] += 1
    return {
        kernel: {
            **counts,
            "conforms": counts.get("passed", 0) > 0 and not counts.get("failed", 0) and not counts.get("error", 0),
        }
        for kernel, counts in sorted(outcomes.items())
    }


def _speeds(rows: Iterable[Row]) -> list[Row]:
    """Return the measurements of Millpond."""
    return [row for row in rows if row["side"] == "millpond" and "tokens_per_second" in row]


def fastest_attention(measured: Sequence[Row], kernels: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the speed of each variant relative to the default, and the fastest one that conforms.

    Args:
        measured: The measurements of Millpond.
        kernels: The result of ``conforming``; variants without results do not conform.
    """
    best: dict[str, dict[str, float]] = defaultdict(dict)  # work -> variant -> tokens per second
    for row in measured:
        speeds = best[row["work"]]
        speeds[row["attention"]] = max(speeds.get(row["attention"], 0.0), row["tokens_per_second"])
    ratios: dict[str, list[float]] = defaultdict(list)
    for speeds in best.values():
        for variant, speed in speeds.items():
            if "" in speeds:
                ratios[variant].append(speed / speeds[""])
    means = {variant: prod(values) ** (1 / len(values)) for variant, values in ratios.items()}
    allowed = [it for it in means if not it or kernels.get(f"attention.{it}", {}).get("conforms")]
    return {"relative_speed": means, "choice": max(allowed, key=means.__getitem__) if allowed else ""}


def batch_tokens(measured: Sequence[Row]) -> int:
    """Return the smallest size of batches whose mean share of each work's best speed is nearly that of the best."""
    best: dict[str, float] = defaultdict(float)
    by_size: dict[int, dict[str, float]] = defaultdict(dict)
    for row in measured:
        best[row["work"]] = max(best[row["work"]], row["tokens_per_second"])
        speeds = by_size[row["batch_tokens"]]
        speeds[row["work"]] = max(speeds.get(row["work"], 0.0), row["tokens_per_second"])
    # A size that was not measured for every work, for lack of time or memory, counts only if no other was.
    complete = {size: speeds for size, speeds in by_size.items() if speeds.keys() == best.keys()} or by_size
    shares = {
        size: prod(speed / best[work] for work, speed in speeds.items()) ** (1 / len(speeds))
        for size, speeds in complete.items()
    }
    return min(size for size, share in shares.items() if share >= NEARLY_BEST * max(shares.values()))


def graph_tokens(rows: Sequence[Row]) -> int:
    """Return the tokens of the largest batch that a graph computes faster, with nearly equal vectors; 0 for none."""
    faster = [
        row["tokens"]
        for row in rows
        if row["ms"]["graph"] < MAX_GRAPH_TIME * row["ms"]["as usual"] and row["min_cosine"] >= MIN_COSINE
    ]
    return max(faster, default=0)


def batches_in_flight(rows: Sequence[Row]) -> int:
    """Return the smallest number of batches in flight that is nearly the fastest, with nearly equal vectors."""
    speeds: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        speeds[row["in_flight"]].append(row["tokens_per_second"] if row["min_cosine"] >= MIN_COSINE else 0.0)
    most_rows = max(map(len, speeds.values()))
    means = {number: prod(values) ** (1 / len(values)) for number, values in speeds.items() if len(values) == most_rows}
    return min(number for number, speed in means.items() if speed >= NEARLY_BEST * max(means.values()))


def goals(measured: Sequence[Row], rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Return the best measurement of each row of the table of goals, beside its goal and the best of its peer."""
    table: dict[str, dict[str, Any]] = {}
    for work in WORKS:
        unit = f"{work.unit}_per_second"
        ours = [row for row in measured if row["work"] == work.name]
        peers = [row[unit] for row in rows if row["work"] == work.name and row["side"] != "millpond" and unit in row]
        if ours:
            best = max(ours, key=lambda row: row[unit])
            table[work.name] = {
                unit: best[unit],
                "goal": work.goal,
                "share_of_goal": best[unit] / work.goal,
                "share_of_peak": best["share_of_peak"],
                "times_transformers": best[unit] / max(peers) if peers else None,
                "attention": best["attention"],
                "batch_tokens": best["batch_tokens"],
                "peak_memory_gib": best.get("peak_memory_gib"),
            }
    return table
