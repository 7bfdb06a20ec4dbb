"""``millpond bench``: measures the speed of a model with each kernel, batch size and number of workers."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from millpond.machine import available_cores
from millpond.plugin.manager import get_plugin_manager
from millpond_cli import options
from millpond_cli.arguments import loading_arguments
from millpond_command import declare
from millpond_command.cli import echo
from millpond_command.model_options import ProgressOptions
from millpond_command.processor import processor_name
from millpond_command.progress import Progress
from millpond_command.tables import table

if TYPE_CHECKING:
    from millpond_cli.benchmark.measurements import Measurement

EXAMPLES = (
    "millpond bench all-MiniLM-L6-v2",
    "millpond bench BAAI/bge-small-en-v1.5 --quantization int8 --seconds 10 --json",
)
MIN_REPORTED_RATIO = 1.02  # smaller differences from the default's speed are noise

app = declare.new_app()

Seconds = Annotated[
    float,
    declare.option(
        "Measuring",
        "--seconds",
        metavar="SECONDS",
        least=0.1,
        help="Approximate duration of the measurement, without loading the model.",
    ),
]


@declare.command(app, examples=EXAMPLES)
def bench(
    *,
    model: options.ModelArgument,
    seconds: Seconds = 30,
    as_json: options.AsJson = False,
    progress_options: ProgressOptions,
    bench_options: options.BenchOptions,
) -> None:
    """Measure the speed of a model on this machine.

    Runs random texts, most of them short, with the default kernels and with each alternative kernel, for several batch
    sizes and numbers of workers. Each run is compared with a run of the default settings just before it. Nothing is
    stored; the last line of the output shows the options of the fastest combination.
    """
    arguments = loading_arguments(bench_options)
    from millpond.loading.build import resolve_model  # noqa: PLC0415  imports torch, which --help does not need
    from millpond_cli.benchmark.measurements import Benchmark, fastest  # noqa: PLC0415  as above

    registry = get_plugin_manager().registry
    layers, device = resolve_model(registry, model, arguments)
    benchmark = Benchmark(registry, layers, arguments, device=device, seconds=seconds)
    shown = progress_options.shows_progress
    measurements = benchmark.run(lambda runs: Progress(shown=shown, total=lambda: runs, unit="runs"))
    if as_json:
        machine = {"processor": processor_name(), "cores": available_cores(), "device": str(device)}
        echo(json.dumps({"model": model, **machine, "results": [*map(_record, measurements)]}))
        return
    echo(f"{model} on {device}: {processor_name()}, {available_cores()} cores\n")
    echo(_table(measurements))
    best = fastest(measurements)
    if best.ratio >= MIN_REPORTED_RATIO:
        echo(f"\nFastest, {best.ratio:.2f} times the default: {_options(best)}")


def _record(measurement: "Measurement") -> dict[str, Any]:
    return {
        **asdict(measurement.combination),
        "tokens_per_second": round(measurement.tokens_per_second, 1),
        "tokens_per_cpu_second": round(measurement.tokens_per_cpu_second, 1),
        "ratio": round(measurement.ratio, 3),
        "rounds": len(measurement.samples),
    }


def _table(measurements: "list[Measurement]") -> str:
    heading = ["KERNEL", "BATCH TOKENS", "WORKERS", "TOKENS/S", "TOKENS/CPU S", "x DEFAULT"]
    rows = [
        [
            it.combination.kernel,
            str(it.combination.batch_tokens),
            str(it.combination.workers),
            f"{it.tokens_per_second:,.0f}",
            f"{it.tokens_per_cpu_second:,.0f}",
            f"{it.ratio:.2f}",
        ]
        for it in measurements
    ]
    return table([heading, *rows], right=range(1, len(heading)))


def _options(measurement: "Measurement") -> str:
    from millpond_cli.benchmark.measurements import DEFAULT_KERNELS  # noqa: PLC0415  as above

    best = measurement.combination
    kernel = "" if best.kernel == DEFAULT_KERNELS else f"--kernel {best.kernel} "
    return f"{kernel}--max-num-batched-tokens {best.batch_tokens}, num_workers={best.workers}"
