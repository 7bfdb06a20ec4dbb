"""Format results as Markdown tables."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from contestants import BY_NAME
from stages import STAGES
from workloads import described

Result = Mapping[str, Any]
STAGE_LABELS = {
    "prompt": "arguments, validation, request",
    "tokenise": "text to token ids",
    "engine": "queue, packing, return of results",
    "forward": "forward pass of the model",
    "pool": "pooling and normalisation",
    "output": "output object",
    "whole": "whole call",
}


def markdown(result: Result) -> str:
    """Return a result as tables, with the conditions of the measurement."""
    return "\n\n".join(part for part in (conditions(result), TABLES[result["question"]](result)) if part)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: bool = True) -> str:
    """Return a Markdown table with names aligned to the left and figures to the right."""
    lines = [head, ["---", *["---:" if right else "---"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def conditions(result: Result) -> str:
    """Return date, revision, machine and load in one line, followed by the contestants that were left out."""
    machine = result["machine"]
    flags = ", ".join(machine["flags"])
    measured = (
        f"{result['date']}, revision {machine['revision'] or 'unknown'}: {machine['processor']}, {machine['cores']} "
        f"cores, {machine['memory_gib']} GiB ({flags or 'no vector extensions named'}), {machine['system']}, Python "
        f"{machine['python']}; load average {machine['load_before']} before, {machine.get('load_after', '?')} after; "
        f"{count_of(result['rounds'], 'round')}."
    )
    lines = [measured]
    if machine.get("limits"):
        lines.append(f"Limited by {', '.join(f'`{name}={value}`' for name, value in machine['limits'].items())}.")
    if result["short"]:
        lines.append("**A short run with few texts and rounds.**")
    lines += [f"Left out: {reason}" for reason in result["left_out"].values()]
    return "\n\n".join(lines)


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun, such as "1 round" or "2 rounds"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _heading(result: Result) -> str:
    """Return the workload and the model of a table."""
    return f"**{described(result['workload'])}, {result['model']}**"


def throughput(result: Result) -> str:
    """Return the contestants and, for each workload, speeds and ratios to the peers."""
    peaks = result["peak_gflops"]
    comparisons = [
        part
        for comparison in result["comparisons"]
        for part in _comparison(comparison, comparison.get("peak_gflops", peaks), result)
    ]
    return "\n\n".join([contestants(result), *comparisons])


def contestants(result: Result) -> str:
    """Return the precision and the versions of each contestant."""
    rows = (
        [
            label(name),
            about["precision"],
            ", ".join(f"{package} {version}" for package, version in about["versions"].items()),
        ]
        for name, about in result["contestants"].items()
    )
    return table(["", "precision", "versions"], rows, right=False)


def _comparison(comparison: Result, peaks: Mapping[str, Mapping[str, float]], result: Result) -> Iterable[str]:
    measured = comparison.get("measured")
    is_other_revision = measured is not None and measured["revision"] != result["machine"]["revision"]
    yield (
        f"{_heading(comparison)}: {count_of(comparison['texts'], 'text')}, "
        f"{comparison['tokens']:,} tokens"
        + (
            f"; measured {measured['date']} at revision {measured['revision']}"
            if measured and is_other_revision
            else ""
        )
    )
    head = ["", "texts / CPU s", "texts / s", "GFLOP / CPU s", "share of peak", "cosine, mean", "cosine, min"]
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
        yield "Time of each peer divided by the time of Millpond:"
        yield ratio_table(comparison["ratios"], {"cpu": "CPU", "wall": "wall"})


def _share(row: Result, peaks: Mapping[str, Mapping[str, float]]) -> str:
    peak = peaks[row["precision"]]["high"]
    return f"{row['share_of_peak']:.0%} of {peak:.0f} ({row['precision']})"


def ratio_table(ratios: Sequence[Result], clocks: Mapping[str, str]) -> str:
    """Return a table with a row per configuration of Millpond and clock, and a column per peer."""
    peers = list(dict.fromkeys(ratio["peer"] for ratio in ratios))
    cells = {(r["contestant"], r["peer"], clock): spread(r[clock], 2) for r in ratios for clock in clocks}
    rows = (
        [f"{label(ours)}, {clock_label}", *(cells[ours, peer, clock] for peer in peers)]
        for ours in dict.fromkeys(ratio["contestant"] for ratio in ratios)
        for clock, clock_label in clocks.items()
    )
    return table(["", *(BY_NAME[peer].short_label for peer in peers)], rows)


def latency(result: Result) -> str:
    """Return percentiles, ratios, and the stages of a call."""
    rows = (
        [label(name), spread(row["p50_ms"], 2), spread(row["p95_ms"], 2), f"{row['cpu_ms']:.2f}"]
        for name, row in result["rows"].items()
    )
    head = (
        f"{_heading(result)}: one text of {result['tokens_of_a_text']:.0f} tokens at a time, "
        f"in blocks of {result['block']}"
    )
    parts = [
        head,
        table(["", "p50, ms", "p95, ms", "CPU ms per text"], rows),
    ]
    if result["ratios"]:
        parts += [
            "Median time of each peer divided by that of Millpond:",
            ratio_table(result["ratios"], {"p50": "p50"}),
        ]
    return "\n\n".join([*parts, *_stages(result["stages"])])


def overhead(result: Result) -> str:
    """Return the time of one text by function, and over the bare forward pass."""
    rows = (
        [
            f"{label(name)}: {function}",
            spread(row["p50_ms"], 2),
            spread(row["p95_ms"], 2),
            spread(row["over_forward"], 2),
        ]
        for name, functions in result["rows"].items()
        for function, row in functions.items()
    )
    head = (
        f"{_heading(result)}: one text of {result['tokens_of_a_text']:.0f} tokens at a time, "
        f"in blocks of {result['block']}"
    )
    return "\n\n".join([head, table(["", "p50, ms", "p95, ms", "p50 over that of the forward pass"], rows)])


def _stages(stages: Mapping[str, Mapping[str, float]]) -> Iterable[str]:
    if not stages:
        return
    yield "Stages of a call in Millpond, medians in milliseconds (including the overhead of the probes):"
    rows = (
        [
            f"{stage}: {STAGE_LABELS[stage]}",
            *(f"{times[stage]:.3f} ({times[stage] / times['whole']:.0%})" for times in stages.values()),
        ]
        for stage in (*STAGES, "whole")
    )
    yield table(["", *map(label, stages)], rows)


def serving(result: Result) -> str:
    """Return throughput, latencies, ratios to the peers, and the CPU time of the servers' threads."""
    head = (
        f"{_heading(result)}: {result['clients']} clients, {result['texts_of_a_request']:.1f} "
        f"texts of {result['tokens_of_a_text']:.0f} tokens per request, {result['seconds']:g} s per round"
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
    columns = ["", "requests / s", "requests / CPU s", "p50, ms", "p99, ms", "busy cores", "cosine, mean"]
    parts = [contestants(result), head, table(columns, rows)]
    if result["ratios"]:
        clocks = {"wall": "requests / s", "cpu": "requests / CPU s"}
        parts += ["Throughput of Millpond divided by that of the peer:", ratio_table(result["ratios"], clocks)]
    shares = (
        [
            label(name),
            *(percentages(row[f"{part}_share"]) for part in ("event_loop", "computing", "other")),
            percentages(row["clients_share_of_a_core"]),
        ]
        for name, row in result["rows"].items()
    )
    columns = ["", "event loop: HTTP, JSON, checks, metrics", "computing", "tokenising, queues, log", "clients"]
    caption = "CPU time of each server by thread, and CPU time of the clients as a share of one core:"
    return "\n\n".join([*parts, caption, table(columns, shares)])


def memory(result: Result) -> str:
    """Return the memory of each contestant after loading, and its peak."""
    rows = ([label(name), spread(row["loaded_mib"]), spread(row["peak_mib"])] for name, row in result["rows"].items())
    texts = count_of(result["texts"], "text")
    head = f"{_heading(result)}: {texts}, one new process per contestant and round"
    return f"{head}\n\n{table(['', 'loaded, MiB', 'peak, MiB'], rows)}"


def int8_quality(result: Result) -> str:
    """Return cosines and shared neighbours compared with float32."""
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
    columns = ["", "cosine, mean", "cosine, min", f"top-{result['neighbours']} overlap", "quantisation"]
    return f"{head}\n\n{table(columns, rows)}"


def maxsim(result: Result) -> str:
    """Return the milliseconds for one query and all documents, and the speedup over the peer in CPU time."""
    rows = (
        [label(name), *(spread(row[kind]) for kind in ("cpu_ms", "wall_ms")), spread(row["times_as_fast"], 2)]
        for name, row in result["rows"].items()
    )
    difference = result["largest_difference"]
    agreement = f"scores differ by at most {difference:.1g}" if difference else "the scores are identical"
    caption = f"**MaxSim** of one query and {count_of(result['documents'], 'document')}; {result['peer']}; {agreement}"
    return f"{caption}\n\n{table(['', 'CPU ms', 'wall ms', 'speedup'], rows)}"


def tokenisation(result: Result) -> str:
    """Return texts per second, tokenised and embedded."""
    rows = (
        [
            label(name),
            *(spread(row[f"{kind}_per_second"]) for kind in ("tokenised", "embedded", "embedded_from_ids")),
            f"{row['share_of_cpu']['median']:.1%}",
            spread(row["wall_over_ids"], 3),
        ]
        for name, row in result["rows"].items()
    )
    head = [
        "",
        "tokenised / s",
        "embedded / s",
        "embedded from ids / s",
        "tokenisation, share of CPU time",
        "wall time: texts / ids",
    ]
    return f"{_heading(result)}: {count_of(result['texts'], 'text')}\n\n{table(head, rows)}"


def jobs(result: Result) -> str:
    """Return the time of jobs and of `LLM.embed` on the same texts, and the memory of jobs by their number of rows."""
    labels = {"embed": "`LLM.embed`", "job": "job"}
    rows = (
        [labels[name], *(spread(row[f"{kind}_seconds"], 2) for kind in ("cpu", "wall"))]
        for name, row in result["rows"].items()
    )
    ratios = [spread(result["job_over_embed"][kind], 3) for kind in ("cpu", "wall")]
    memory_rows = (
        [f"{run['rows']:,}", f"{run['peak_mib']:,.0f}", f"{run['cpu_seconds']:,.0f}", f"{run['wall_seconds']:,.0f}"]
        for run in result["memory"]
    )
    caption = f"{_heading(result)}: {count_of(result['texts'], 'text')}"
    overhead = table(["", "CPU s", "wall s"], [*rows, ["ratio", *ratios]])
    few, *_, many = (run["peak_mib"] for run in result["memory"])
    peaks = table(["rows", "peak, MiB", "CPU s", "wall s"], memory_rows)
    growth = f"**Memory**, tiny model: the last peak is {many / few:.2f} times the first"
    return f"{caption}\n\n{overhead}\n\n{growth}\n\n{peaks}"


def ray_data(result: Result) -> str:
    """Return the speed of actors of Ray Data and of the sides they are compared with."""
    labels = {
        "runner": "`Runner`, no Ray",
        "one actor": "`millpond_ray.map`, 1 actor",
        "two actors": "`millpond_ray.map`, 2 actors",
        "one peer": "`SentenceTransformer`, 1 actor",
        "two peers": "`SentenceTransformer`, 2 actors",
    }
    rows = (
        [labels[name], spread(row["rows_per_second"], 1), spread(row["few_seconds"], 1)]
        for name, row in result["rows"].items()
    )
    head = f"{_heading(result)}: {count_of(result['texts'], 'text')}"
    speeds = table(["", "rows per second", f"{result['few_texts']} texts and start, s"], rows)
    ratios = table(["", "ratio"], ([name, spread(ratio, 2)] for name, ratio in result["ratios"].items()))
    return f"{head}, batches of {result['batch_rows']}\n\n{speeds}\n\n{ratios}"


def batches(result: Result) -> str:
    """Return the latency of live requests alone and beside a batch."""
    columns = ("requests_per_second", "p50_ms", "p99_ms")
    rows = [[name, *(spread(row[column], 1) for column in columns)] for name, row in result["rows"].items()]
    ratios = ["ratio", "", *(spread(result["beside_over_alone"][name], 2) for name in ("p50", "p99"))]
    head = f"{_heading(result)}: {count_of(result['clients'], 'client')}"
    rate = f"The batch ran {spread(result['batch_requests_per_second'], 0)} requests per second."
    return f"{head}\n\n{table(['live requests', 'per second', 'p50, ms', 'p99, ms'], [*rows, ratios])}\n\n{rate}"


def cache(result: Result) -> str:
    """Return the time of hits and misses of each cache, and of computing without one."""
    parts = {
        "hits, all texts in one call": result["hits"]["one_call"],
        "hits, one text per call": result["hits"]["one_text_per_call"],
        "misses, with closing the cache": result["misses"],
    }
    rows = (
        [
            f"{part}: {name}",
            spread({kind: value * 1000 for kind, value in seconds.items()}, 2),
            spread(measured["computed_over"][name], 2) if name in measured["computed_over"] else "",
        ]
        for part, measured in parts.items()
        for name, seconds in measured["seconds"].items()
    )
    head = f"{_heading(result)}: {count_of(result['texts'], 'text')}"
    return f"{head}\n\n{table(['', 'ms', 'speedup over computing'], rows)}"


def encoders(result: Result) -> str:
    """Return texts per second of each encoder, and the speedup over the class of transformers."""
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
    head = f"**{described(result['workload'])}**: {count_of(result['texts'], 'text')}, {result['tokens']:,} tokens"
    columns = ["", "texts / CPU s", "texts / s", "speedup over transformers, CPU time", "cosine, mean"]
    return "\n\n".join([head, contestants(result), table(columns, rows)])


def decoder(result: Result) -> str:
    """Return memory and tokens per second of a decoder in each dtype, and the speedup over float32 in transformers."""
    rows = (
        [
            label(name),
            *(f"{row[f'{key}_mib']:,.0f}" for key in ("loaded", "files", "load_peak", "peak")),
            spread(row["tokens_per_cpu_second"]),
            spread(row["tokens_per_second"]),
            spread(row["times_as_fast"], 2),
            f"{row['cosine_to_reference']['mean']:.4f}",
        ]
        for name, row in result["rows"].items()
    )
    head = f"{_heading(result)}: {count_of(result['texts'], 'text')}, {result['tokens']:,} tokens"
    memory = ["loaded, MiB", "of it in files, MiB", "peak of loading, MiB", "peak, MiB"]
    columns = ["", *memory, "tokens / CPU s", "tokens / s", "speedup, CPU time", "cosine, mean"]
    return "\n\n".join([head, contestants(result), table(columns, rows)])


def gpu_all(result: Result) -> str:
    """Return the speed of each model on a GPU beside its goal, and the decisions."""
    rows = (
        [
            name,
            f"{row.get('tokens_per_second', row.get('sequences_per_second')):,.0f}",
            f"{row['goal']:,.0f}",
            "" if row["share_of_peak"] is None else f"{row['share_of_peak']:.0%}",
            "" if row["times_transformers"] is None else f"{row['times_transformers']:.1f}",
            "" if row["peak_memory_gib"] is None else f"{row['peak_memory_gib']:.1f}",
        ]
        for name, row in result["decisions"].get("goals", {}).items()
    )
    head = ["", "per second", "goal", "share of the published peak", "speedup over transformers", "peak memory, GiB"]
    first: Result = next(iter(result["sections"].get("machine", {}).get("rows", ())), {})
    return f"**{first.get('device', 'unknown device')}**\n\n{table(head, rows)}"


def label(name: str) -> str:
    """Return the label of a contestant; bold for configurations of Millpond."""
    contestant = BY_NAME[name]
    return f"**{contestant.label}**" if contestant.is_ours else contestant.label


def spread(figures: Mapping[str, float], digits: int | None = None) -> str:
    """Return a median with its range, with the given number of decimals (default: three significant digits)."""
    if digits is None:
        digits = max(2 - int(math.log10(max(figures["median"], 1.0))), 0)
    median, low, high = (f"{figures[name]:,.{digits}f}" for name in ("median", "low", "high"))
    return f"{median} [{low}-{high}]"


def percentages(shares: Mapping[str, float]) -> str:
    """Return a share with its range, in percent."""
    median, low, high = (f"{shares[name]:.1%}" for name in ("median", "low", "high"))
    return f"{median} [{low}-{high}]"


TABLES: Mapping[str, Callable[[Result], str]] = {
    "embed_throughput": throughput,
    "latency": latency,
    "overhead": overhead,
    "serve_throughput": serving,
    "encoders": encoders,
    "decoder": decoder,
    "memory": memory,
    "int8_quality": int8_quality,
    "maxsim": maxsim,
    "tokenisation": tokenisation,
    "jobs": jobs,
    "ray_data": ray_data,
    "batches": batches,
    "cache": cache,
    "gpu_all": gpu_all,
}
