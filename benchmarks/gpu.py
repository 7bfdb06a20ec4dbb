"""How much of a CUDA device is used? Model FLOPs utilisation in float32, float16 and bfloat16, beside its peer.

python benchmarks/gpu.py [--short] [--rounds N] [--texts N] [--output FOLDER]

The device's time is measured by its own events around the forward passes, its peak by products of large matrices in
the same precision in the same run; only real tokens count as work. The peer is the sentence-transformers of this
environment, whose torch can use the device.
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
PEAK_SIZE = 8192  # rows and columns of the matrices whose products are the peak
GIGA = 1e9


def on_device(precision: str) -> list[Contestant]:
    """Millpond and sentence-transformers on the device, in one precision, from this environment."""
    options = {"device": "cuda", "dtype": precision}
    return [
        Contestant(name="millpond", label=BY_NAME["millpond"].label, engine="millpond", options=options),
        Contestant(name="st-torch", label=BY_NAME["st-torch"].label, engine="sentence-transformers", options=options),
    ]


def compare(settings: Settings, model: Model, workloads: list[Workload], precision: str, peak: float) -> list[Result]:
    """Have both embed the workloads in turns, in one precision."""
    found: list[Result] = []
    with Contest(settings.environments) as contest:
        contest.enter(on_device(precision), model)
        if contest.left_out:
            raise SystemExit("\n".join(contest.left_out.values()))
        for workload in workloads:
            contest.give(workload)
            title = f"{model.name}, {precision}, {workload.name}"
            runs = alternate(contest.workers, settings.rounds, "device_run", title, workload=workload.name)
            flops = model.flops(workload)
            found += [
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
    return found


def figures(texts: int, flops: float, runs: list[dict[str, Any]], peak: float) -> Result:
    """Texts a second, and the share of the device's peak: of its busy time, and of the whole call.

    Args:
        texts: How many texts each run embeds.
        flops: Floating-point operations over their real tokens.
        runs: Wall seconds and the device's seconds of each run.
        peak: GFLOP a second.
    """
    wall, device = [run["wall"] for run in runs], [run["device"] for run in runs]
    return {
        "texts_per_second": rates(texts, wall).as_dict(),
        "utilisation_of_forward": Spread.of([flops / GIGA / second / peak for second in device]).as_dict(),
        "utilisation_of_call": Spread.of([flops / GIGA / second / peak for second in wall]).as_dict(),
    }


def measure(settings: Settings) -> Result:
    """Each precision in turn: its peak, then both models on mixed and on full lengths."""
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
    """Whether torch finds a CUDA device."""
    import torch  # noqa: PLC0415  seconds to import, and no other part of this process needs it

    return torch.cuda.is_available()


def main() -> int:
    """Measure, where there is a device."""
    settings = read_settings("gpu", __doc__)
    if not has_cuda():
        print(
            "No CUDA device is found here (torch.cuda.is_available() is False): there is nothing to measure.",
            file=sys.stderr,
        )
        print("Run this on a machine that has one, in an environment whose torch is a CUDA build.", file=sys.stderr)
        return 1
    write(measure(settings), settings)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
