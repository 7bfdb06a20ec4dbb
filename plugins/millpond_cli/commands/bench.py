"""``millpond bench``: the speed of a model here, with each kernel, number of batch tokens and number of workers."""

import json
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from millpond.engine.machine import available_cores, processor_name
from millpond.plugin.manager import get_plugin_manager
from millpond_cli import options
from millpond_cli.arguments import read
from millpond_cli.io.notes import Progress
from millpond_cli.io.tables import table
from millpond_command import declare
from millpond_command.cli import echo

if TYPE_CHECKING:
    from millpond_cli.benchmark.measurements import Measurement

EXAMPLES = (
    "millpond bench all-MiniLM-L6-v2",
    "millpond bench BAAI/bge-small-en-v1.5 --quantization int8 --seconds 10 --json",
)
WORTH_NAMING = 1.02  # times the default's speed; less is not told apart from noise

app = declare.new_app()

Seconds = Annotated[
    float,
    declare.option(
        "Measuring",
        "--seconds",
        metavar="SECONDS",
        least=0.1,
        help="Approximate time of the measurement, without loading. More time gives larger runs.",
    ),
]


@declare.command(app, examples=EXAMPLES)
def bench(
    *,
    model: options.ModelArgument,
    seconds: Seconds = 30,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    benchmarked: options.Benchmarked,
) -> None:
    """Measure the speed of a model on this machine.

    Texts of random tokens, most of them short, are computed with the default kernels and with each that could replace
    one of them, with several numbers of tokens a batch and of workers. Each run is compared with one of the defaults
    beside it. Nothing is stored: the options that the last line names make it the fastest.
    """
    arguments = read(benchmarked)
    from millpond.loading.build import resolve_model  # noqa: PLC0415  needs torch; --help does not
    from millpond_cli.benchmark.measurements import Measuring, fastest  # noqa: PLC0415  as above

    registry = get_plugin_manager().registry
    resolution, device = resolve_model(registry, model, arguments)
    measuring = Measuring(registry, resolution, arguments, device=device, seconds=seconds)
    with closing(Progress(shown=False if quiet else None, total=lambda: None, unit=" combinations")) as progress:
        measurements = measuring.run(progress.update)
    if as_json:
        machine = {"processor": processor_name(), "cores": available_cores(), "device": str(device)}
        echo(json.dumps({"model": model, **machine, "results": [*map(_record, measurements)]}))
        return
    echo(f"{model} on {device}: {processor_name()}, {available_cores()} cores\n")
    echo(_table(measurements))
    best = fastest(measurements)
    if best.ratio >= WORTH_NAMING:
        echo(f"\nFastest, {best.ratio:.2f} times the default: {_options(best)}")


def _record(it: "Measurement") -> dict[str, Any]:
    return {
        **asdict(it.combination),
        "tokens_per_second": round(it.tokens_per_second, 1),
        "tokens_per_cpu_second": round(it.tokens_per_cpu_second, 1),
        "ratio": round(it.ratio, 3),
        "rounds": len(it.samples),
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


def _options(it: "Measurement") -> str:
    from millpond_cli.benchmark.measurements import DEFAULT_KERNELS  # noqa: PLC0415  needs torch; --help does not

    kernel = "" if it.combination.kernel == DEFAULT_KERNELS else f"--kernel {it.combination.kernel} "
    return f"{kernel}--max-num-batched-tokens {it.combination.batch_tokens}, num_workers={it.combination.workers}"
