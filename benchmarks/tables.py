"""Results as Markdown: the one place where figures become text."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from contestants import BY_NAME
from stages import STAGES

Result = Mapping[str, Any]
WHAT_A_STAGE_IS = {
    "prompt": "the call's arguments, checks, the request",
    "tokenise": "text to token ids",
    "engine": "to a worker, packing, and back",
    "forward": "the model, to hidden states",
    "pool": "pooling and normalising",
    "output": "the output object",
    "whole": "the whole call",
}


def markdown(result: Result) -> str:
    """A result as tables, with what they were measured on."""
    return "\n\n".join(part for part in (conditions(result), TABLES[result["question"]](result)) if part)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: bool = True) -> str:
    """A Markdown table: names to the left, figures to the right."""
    lines = [head, ["---", *["---:" if right else "---"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def conditions(result: Result) -> str:
    """When, with what and on what it was measured, in a line; and who was left out, and why."""
    machine = result["machine"]
    flags = ", ".join(machine["flags"])
    measured = (
        f"{result['date']}, revision {machine['revision'] or 'unknown'}: {machine['processor']}, {machine['cores']} "
        f"cores, {machine['memory_gib']} GiB ({flags or 'no vector extensions named'}), {machine['system']}, Python "
        f"{machine['python']}; load {machine['load_before']} before, {machine.get('load_after', '?')} after; "
        f"{count_of(result['rounds'], 'round')}."
    )
    lines = [measured]
    if result["short"]:
        lines.append("**A short run: few texts and rounds, for a first impression.**")
    lines += [f"Left out: {reason}" for reason in result["left_out"].values()]
    return "\n\n".join(lines)


def count_of(number: int, what: str) -> str:
    """A number of things."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def throughput(result: Result) -> str:
    """Who takes part; for each workload the speeds, and how many times as much the peers need."""
    peaks = result["peak_gflops"]
    comparisons = [
        part
        for comparison in result["comparisons"]
        for part in _comparison(comparison, comparison.get("peak_gflops", peaks), result)
    ]
    return "\n\n".join([contestants(result), *comparisons])


def contestants(result: Result) -> str:
    """What each contestant computes in, and with which versions."""
    rows = (
        [
            label(name),
            about["precision"],
            ", ".join(f"{package} {version}" for package, version in about["versions"].items()),
        ]
        for name, about in result["contestants"].items()
    )
    return table(["", "computes in", "versions"], rows, right=False)


def _comparison(comparison: Result, peaks: Mapping[str, Mapping[str, float]], result: Result) -> Iterable[str]:
    measured = comparison.get("measured")
    another = measured is not None and measured["revision"] != result["machine"]["revision"]
    yield (
        f"**{comparison['workload']}, {comparison['model']}**: {count_of(comparison['texts'], 'text')}, "
        f"{comparison['tokens']:,} tokens"
        + (f"; measured {measured['date']} at revision {measured['revision']}" if measured and another else "")
    )
    head = ["", "texts / CPU s", "texts / s", "GFLOP / CPU s", "of the peak", "cosine, mean", "min"]
    yield table(
        head,
        (
            [
                label(name),
                spread(row["texts_per_cpu_second"]),
                spread(row["texts_per_second"]),
                f"{row['gflop_per_cpu_second']['median']:.0f}",
                _share(row, peaks),
                f"{row['cosine_to_reference']['mean']:.4f}",
                f"{row['cosine_to_reference']['min']:.4f}",
            ]
            for name, row in comparison["rows"].items()
        ),
    )
    if comparison["ratios"]:
        yield "How many times as long the peers take, by CPU seconds and by wall time:"
        yield ratio_table(comparison["ratios"], {"cpu": "CPU", "wall": "wall"})


def _share(row: Result, peaks: Mapping[str, Mapping[str, float]]) -> str:
    peak = peaks[row["precision"]]["high"]
    return f"{row['share_of_peak']:.0%} of {peak:.0f} ({row['precision']})"


def ratio_table(ratios: Sequence[Result], clocks: Mapping[str, str]) -> str:
    """A row for each of ours and each clock, a column for each peer."""
    peers = list(dict.fromkeys(ratio["peer"] for ratio in ratios))
    cells = {(r["contestant"], r["peer"], clock): spread(r[clock], 2) for r in ratios for clock in clocks}
    rows = (
        [f"{label(own)}, {said}", *(cells[own, peer, clock] for peer in peers)]
        for own in dict.fromkeys(ratio["contestant"] for ratio in ratios)
        for clock, said in clocks.items()
    )
    return table(["", *(BY_NAME[peer].short_label for peer in peers)], rows)


def latency(result: Result) -> str:
    """Percentiles, ratios, and the stages of a text."""
    rows = (
        [label(name), spread(row["p50_ms"], 2), spread(row["p95_ms"], 2), f"{row['cpu_ms']:.2f}"]
        for name, row in result["rows"].items()
    )
    head = (
        f"**{result['workload']}, {result['model']}**: one text of {result['tokens_of_a_text']:.0f} tokens at a time, "
        f"in blocks of {result['block']}"
    )
    parts = [
        head,
        table(["", "p50, ms", "p95, ms", "CPU ms a text"], rows),
    ]
    if result["ratios"]:
        parts += [
            "How many times as long the median text takes in the peers:",
            ratio_table(result["ratios"], {"p50": "p50"}),
        ]
    return "\n\n".join([*parts, *_stages(result["stages"])])


def _stages(stages: Mapping[str, Mapping[str, float]]) -> Iterable[str]:
    if not stages:
        return
    yield "Where the time of a text goes in Millpond, medians in milliseconds (probes included):"
    rows = (
        [
            f"{stage}: {WHAT_A_STAGE_IS[stage]}",
            *(f"{found[stage]:.3f} ({found[stage] / found['whole']:.0%})" for found in stages.values()),
        ]
        for stage in (*STAGES, "whole")
    )
    yield table(["", *map(label, stages)], rows)


def serving(result: Result) -> str:
    """Answers a second, how long they took, and where the servers' CPU time went; ratios to each peer."""
    head = (
        f"**{result['workload']}, {result['model']}**: {result['clients']} clients, {result['texts_of_a_request']:.1f} "
        f"texts of {result['tokens_of_a_text']:.0f} tokens a request, {result['seconds']:g} s a round"
    )
    rows = (
        [
            label(name),
            *(spread(row[figure]) for figure in ("requests_per_second", "requests_per_cpu_second")),
            *(spread(row[figure], 0) for figure in ("p50_ms", "p99_ms")),
            spread(row["busy_cores"], 2),
            f"{row['cosine_to_reference']['mean']:.4f}",
        ]
        for name, row in result["rows"].items()
    )
    columns = ["", "requests / s", "requests / CPU s", "p50, ms", "p99, ms", "cores busy", "cosine, mean"]
    parts = [contestants(result), head, table(columns, rows)]
    if result["ratios"]:
        clocks = {"wall": "a second", "cpu": "a CPU second"}
        parts += ["How many times as many requests as the peer:", ratio_table(result["ratios"], clocks)]
    shares = (
        [
            label(name),
            *(percentages(row[f"{part}_share"]) for part in ("event_loop", "computing", "other")),
            percentages(row["clients_share_of_a_core"]),
        ]
        for name, row in result["rows"].items()
    )
    columns = ["", "event loop: HTTP, JSON, checks, metrics", "computing", "tokenising, queues, log", "clients"]
    told = "Where the CPU time of each server went, by its threads; and what share of a core the clients took:"
    return "\n\n".join([*parts, told, table(columns, shares)])


def memory(result: Result) -> str:
    """The memory of each once it is loaded, and at its peak."""
    rows = ([label(name), spread(row["loaded_mib"]), spread(row["peak_mib"])] for name, row in result["rows"].items())
    head = f"**{result['workload']}, {result['model']}**: {count_of(result['texts'], 'text')}, a fresh process each"
    return f"{head}\n\n{table(['', 'loaded, MiB', 'peak, MiB'], rows)}"


def int8_quality(result: Result) -> str:
    """Cosines and neighbours beside float32."""
    rows = (
        [
            label(name),
            f"{row['cosine_mean']:.4f}",
            f"{row['cosine_min']:.4f}",
            f"{row['overlap']:.1%}",
            BY_NAME[name].quantised or "-",
        ]
        for name, row in result["rows"].items()
    )
    head = (
        f"**{result['model']}**: {count_of(result['texts'], 'text')}, {result['queries']} queries, top "
        f"{result['neighbours']}"
    )
    columns = ["", "cosine, mean", "cosine, min", f"top-{result['neighbours']} overlap", "int8 by"]
    return f"{head}\n\n{table(columns, rows)}"


def maxsim(result: Result) -> str:
    """Milliseconds for a query with all documents, and how many times as fast as the peer in CPU time."""
    rows = (
        [label(name), *(spread(row[kind]) for kind in ("cpu_ms", "wall_ms")), spread(row["times_as_fast"], 2)]
        for name, row in result["rows"].items()
    )
    told = (
        f"**MaxSim** of a query with {count_of(result['documents'], 'document')}; {result['peer']}; scores differ by "
        f"{result['largest_difference']:.1g} at most"
    )
    return f"{told}\n\n{table(['', 'CPU ms', 'wall ms', 'times as fast'], rows)}"


def tokenisation(result: Result) -> str:
    """Texts a second, tokenised and embedded."""
    rows = (
        [
            label(name),
            *(spread(row[f"{kind}_per_second"]) for kind in ("tokenised", "embedded", "embedded_from_ids")),
            f"{row['share_of_cpu']['median']:.1%}",
            spread(row["wall_over_ids"], 3),
        ]
        for name, row in result["rows"].items()
    )
    head = ["", "tokenised / s", "embedded / s", "embedded from ids / s", "share of the CPU", "wall time over ids"]
    return f"**{result['workload']}, {result['model']}**: {count_of(result['texts'], 'text')}\n\n{table(head, rows)}"


def encoders(result: Result) -> str:
    """Texts a second of each encoder, and how many times as many as transformers' class."""
    rows = (
        [
            f"`{row['architecture']}`, {label(row['contestant'])}",
            spread(row["texts_per_cpu_second"]),
            spread(row["texts_per_second"]),
            spread(row["times_as_fast"], 2),
            f"{row['cosine_to_reference']['mean']:.4f}",
        ]
        for row in result["rows"]
    )
    head = f"**{result['workload']}**: {count_of(result['texts'], 'text')}, {result['tokens']:,} tokens"
    columns = ["", "texts / CPU s", "texts / s", "times transformers, by CPU", "cosine, mean"]
    return "\n\n".join([head, contestants(result), table(columns, rows)])


def gpu(result: Result) -> str:
    """Texts a second and utilisation, by precision."""
    rows = (
        [
            f"{label(row['contestant'])}, {row['model']}, {row['workload']}, {row['precision']}",
            spread(row["texts_per_second"]),
            f"{row['utilisation_of_forward']['median']:.0%}",
            f"{row['utilisation_of_call']['median']:.0%}",
            f"{row['peak_gflops'] / 1e3:.0f}",
        ]
        for row in result["rows"]
    )
    head = ["", "texts / s", "MFU of the forward pass", "MFU of the call", "peak, TFLOP / s"]
    return f"**{result['torch'].get('device') or 'CPU'}**\n\n{table(head, rows)}"


def label(name: str) -> str:
    """What a contestant is called; ours stand out."""
    contestant = BY_NAME[name]
    return f"**{contestant.label}**" if contestant.is_ours else contestant.label


def spread(found: Mapping[str, float], digits: int | None = None) -> str:
    """A median with its range; if nobody says how many digits, three that count."""
    if digits is None:
        digits = max(2 - int(math.log10(max(found["median"], 1.0))), 0)
    median, low, high = (f"{found[name]:,.{digits}f}" for name in ("median", "low", "high"))
    return f"{median} [{low}-{high}]"


def percentages(found: Mapping[str, float]) -> str:
    """A share with its range."""
    median, low, high = (f"{found[name]:.1%}" for name in ("median", "low", "high"))
    return f"{median} [{low}-{high}]"


TABLES: Mapping[str, Callable[[Result], str]] = {
    "embed_throughput": throughput,
    "latency": latency,
    "serve_throughput": serving,
    "encoders": encoders,
    "memory": memory,
    "int8_quality": int8_quality,
    "maxsim": maxsim,
    "tokenisation": tokenisation,
    "gpu": gpu,
}
