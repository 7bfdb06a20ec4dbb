"""How fast are texts embedded offline, beside sentence-transformers? Alternating runs, CPU seconds and wall time.

python benchmarks/embed_throughput.py [--quick] [--json FILE] [--markdown FILE]
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from sentence_transformers import SentenceTransformer
from workloads import Workload, documentation, full_length, prose

from millpond import LLM

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
PEAK_SHAPE = 2048  # rows and columns of the matrices that the machine's peak is measured with
console = Console(stderr=True)


@dataclass
class Series:
    """The runs of one contestant on one workload."""

    name: str
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def run(self, work: Callable[[], object]) -> None:
        """Measure one run."""
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        self.cpu.append(time.process_time() - cpu)
        self.wall.append(time.perf_counter() - wall)


def measure_peak(seconds: float = 1.0) -> float:
    """Single-precision GFLOP of a large matrix product in a CPU second, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    a, b = torch.randn(2, PEAK_SHAPE, PEAK_SHAPE)
    torch.mm(a, b)
    start, count = time.thread_time(), 0
    while time.thread_time() - start < seconds:
        torch.mm(a, b)
        count += 1
    rate = count * 2 * PEAK_SHAPE**3 / (time.thread_time() - start) / 1e9
    torch.set_num_threads(threads)
    return rate


def compare(workload: Workload, llm: LLM, peer: SentenceTransformer, rounds: int) -> tuple[list[Series], list[float]]:
    """Let both embed the workload in turns; returns their runs and the peaks measured between them."""
    ours, theirs = Series("millpond"), Series("sentence-transformers")
    texts = list(workload.texts)
    turns = [
        (ours, lambda: llm.embed(texts, truncate_prompt_tokens=-1, use_tqdm=False)),
        (theirs, lambda: peer.encode(texts, show_progress_bar=False)),
    ]
    for _, work in turns:
        work()
    peaks: list[float] = []
    for number in track(range(rounds), f"{workload.name}: {len(texts)} texts", console=console):
        peaks.append(measure_peak())
        for series, work in turns if number % 2 == 0 else reversed(turns):
            series.run(work)
    return [ours, theirs], peaks


def report(workload: Workload, series: list[Series], peaks: list[float], flops: float) -> list[dict[str, object]]:
    """The figures of a workload: medians, and the ranges that they lie in."""
    peak = statistics.median(peaks)
    rows: list[dict[str, object]] = []
    for one in series:
        ratios = [theirs / ours for ours, theirs in zip(one.cpu, series[-1].cpu, strict=True)]
        walls = [theirs / ours for ours, theirs in zip(one.wall, series[-1].wall, strict=True)]
        cpu = statistics.median(one.cpu)
        rows.append(
            {
                "workload": workload.name,
                "contestant": one.name,
                "padding_of_batches_of_32": workload.padding(),
                "texts_per_cpu_second": len(workload.texts) / cpu,
                "texts_per_second": len(workload.texts) / statistics.median(one.wall),
                "cpu_seconds": one.cpu,
                "wall_seconds": one.wall,
                "gflops_per_cpu_second": flops / cpu / 1e9,
                "peak_gflops": peak,
                "utilisation": flops / cpu / 1e9 / peak,
                "cpu_ratio": [statistics.median(ratios), min(ratios), max(ratios)],
                "wall_ratio": [statistics.median(walls), min(walls), max(walls)],
            }
        )
    return rows


def markdown(rows: list[dict[str, object]]) -> str:
    """The figures as a table."""
    lines = [
        "| workload | | texts / CPU s | texts / s | GFLOP / CPU s | of the peak | CPU ratio | wall ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            f"{row['workload']}",
            f"{row['contestant']}",
            f"{row['texts_per_cpu_second']:.0f}",
            f"{row['texts_per_second']:.0f}",
            f"{row['gflops_per_cpu_second']:.0f}",
            f"{row['utilisation']:.0%} of {row['peak_gflops']:.0f}",
            _with_range(row["cpu_ratio"]),
            _with_range(row["wall_ratio"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _with_range(ratio: object) -> str:
    middle, low, high = ratio if isinstance(ratio, list) else (0.0, 0.0, 0.0)
    return f"{middle:.2f} [{low:.2f}-{high:.2f}]"


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    names = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def main() -> None:
    """Measure, print the table, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and W1p (prose) alone")
    parser.add_argument("--rounds", type=int, help="runs of each contestant (default: 5, with --quick 3)")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    arguments = parser.parse_args()
    rounds = arguments.rounds or (3 if arguments.quick else 5)

    llm = LLM(model=MODEL)
    peer = SentenceTransformer(llm.model_config.path, device="cpu")
    tokenizer = llm.pipeline.ctx.tokenizer
    if tokenizer is None:
        message = f"{MODEL} has no tokenizer"
        raise SystemExit(message)
    workloads = [prose(tokenizer.backend, 2000)]
    if not arguments.quick:
        workloads += [documentation(tokenizer.backend, 2000), full_length(tokenizer.backend, 500)]
    config = llm.model_config.hf_config
    rows: list[dict[str, object]] = []
    for workload in workloads:
        series, peaks = compare(workload, llm, peer, rounds)
        flops = workload.flops(
            hidden=config.hidden_size, inner=config.intermediate_size, layers=config.num_hidden_layers
        )
        rows += report(workload, series, peaks, flops)
    llm.close()

    result = {"machine": machine(), "engine": llm.engine_config.model_dump(), "rows": rows}
    print(markdown(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2), encoding="utf-8")
    if arguments.markdown:
        arguments.markdown.write_text(markdown(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
