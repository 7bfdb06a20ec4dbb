"""Measure the model FLOPs utilisation of a CUDA device in float32, float16 and bfloat16.

python benchmarks/gpu.py [--short] [--rounds N] [--texts N] [--output FOLDER]

The time of the device is measured with CUDA events around the forward passes, and its peak with products of large
matrices in the same precision and run. Padding does not count as work. The peer is sentence-transformers in this
environment.
"""

import sys
from typing import Any

from contest import Contest, alternate
from contestants import BY_NAME, Contestant
from figures import Spread, rates
from models import Model, bert_base
from settings import Result, Settings, new_result, read_settings, write
from workloads import Workload, full_length, prose

PRECISIONS = ("float32", "float16", "bfloat16")
PEAK_SECONDS = 1.0
PEAK_SIZE = 8192  # rows and columns of the matrices for the peak
GIGA = 1e9


def on_device(precision: str) -> list[Contestant]:
    """Return Millpond and sentence-transformers of this environment on the device, in one precision."""
    options = {"device": "cuda", "dtype": precision}
    return [
        Contestant(name="millpond", label=BY_NAME["millpond"].label, engine="millpond", options=options),
        Contestant(name="st-torch", label=BY_NAME["st-torch"].label, engine="sentence-transformers", options=options),
    ]


def compare(settings: Settings, model: Model, workloads: list[Workload], precision: str, peak: float) -> list[Result]:
    """Embed the workloads with both contestants in turns, in one precision."""
    rows: list[Result] = []
    with Contest(settings.environments) as contest:
        contest.load(on_device(precision), model)
        if contest.left_out:
            raise SystemExit("\n".join(contest.left_out.values()))
        for workload in workloads:
            contest.set_workload(workload)
            title = f"{model.name}, {precision}, {workload.name}"
            runs = alternate(contest.workers, settings.rounds, "device_run", title, workload=workload.name)
            flops = model.flops(workload)
            rows += [
                {
                    "contestant": name,
                    "model": model.name,
                    "workload": workload.name,
                    "texts": len(workload.texts),
                    "precision": precision,
                    "peak_gflops": peak,
                    **figures(len(workload.texts), flops, runs[name], peak),
                }
                for name in contest.workers
            ]
    return rows


def figures(texts: int, flops: float, runs: list[dict[str, Any]], peak: float) -> Result:
    """Return texts per second, and the utilisation of the device in the forward pass and in the whole call.

    Args:
        texts: The number of texts per run.
        flops: The floating-point operations of their tokens.
        runs: The wall seconds and the device seconds of each run.
        peak: The peak of the device in GFLOP per second.
    """
    wall, device = [run["wall"] for run in runs], [run["device"] for run in runs]
    return {
        "texts_per_second": rates(texts, wall).as_dict(),
        "utilisation_of_forward": Spread.of([flops / GIGA / second / peak for second in device]).as_dict(),
        "utilisation_of_call": Spread.of([flops / GIGA / second / peak for second in wall]).as_dict(),
    }


def measure(settings: Settings) -> Result:
    """Measure the peak and all models and workloads, in each precision."""
    result, rows = new_result(settings), []
    models = [settings.model] if settings.short else [settings.model, bert_base(settings.environments)]
    for precision in PRECISIONS:
        with Contest(settings.environments) as contest:
            matrices = contest.matrices(device="cuda")
            result["torch"] = matrices.about
            peak = matrices.ask("peak", precision=precision, seconds=PEAK_SECONDS, size=PEAK_SIZE)["rate"]
        for model in models:
            mixed, full = settings.count(20_000, 2000), settings.count(5000, 500)
            workloads = [prose(model.tokenizer, mixed), full_length(model.tokenizer, full)]
            rows += compare(settings, model, workloads, precision, peak)
    return {**result, "rows": rows}


def has_cuda() -> bool:
    """Return True if torch finds a CUDA device."""
    import torch  # noqa: PLC0415  takes seconds, and no other part of this process needs it

    return torch.cuda.is_available()


def main() -> int:
    """Measure, if there is a CUDA device."""
    settings = read_settings("gpu", __doc__)
    if not has_cuda():
        print("No CUDA device found (torch.cuda.is_available() is False).", file=sys.stderr)
        print("Run this on a machine with a CUDA device and a CUDA build of torch.", file=sys.stderr)
        return 1
    write(measure(settings), settings)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
