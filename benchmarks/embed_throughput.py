"""Measure the offline throughput of embedding, compared with the backends of sentence-transformers.

python benchmarks/embed_throughput.py [--short] [--contestants NAMES] [--workloads W1p,W1,W2,W2-base] [--rounds N]
    [--texts N] [--output FOLDER]

The figures are CPU seconds of the whole process, which depend less on the load of the machine, and wall time. Padding
does not count as work.
"""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from typing import Any

from contest import Contest, Worker, alternate
from contestants import BY_NAME, REFERENCE
from figures import Spread, quotients, rates
from models import Model, bert_base
from settings import Result, Settings, new_result, read_settings, write
from vectors import Vectors, cosines
from workloads import Workload, documentation, full_length, prose

PRECISIONS = ("float32", "bfloat16", "int8")
PEAK_SECONDS = 0.5
PEAK_SIZE = 2048  # rows and columns of the matrices for the peak
COMPARED_TEXTS = 200  # texts whose vectors are compared
MIN_COSINE = 0.9  # mean; below it, a contestant computes something else
GIGA = 1e9
LARGE_MODEL_WORKLOAD = "W2-base"  # W2 with a model of the size of BERT-base


class Peaks:
    """The peak of the machine in products of large matrices: measured between the rounds, the best one counts."""

    def __init__(self) -> None:
        self._rates: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}

    def measure(self, matrices: Worker) -> None:
        """Measure each precision once."""
        for precision, measured in self._rates.items():
            measured.append(matrices.ask("peak", precision=precision, seconds=PEAK_SECONDS, size=PEAK_SIZE)["rate"])

    def of(self, precision: str) -> Spread:
        """Return the GFLOP per CPU second in a precision, measured so far."""
        return Spread.of(self._rates[precision])


def compare(
    workload: Workload, model: Model, contest: Contest, rounds: int, measure_peaks: Callable[[], None]
) -> Result:
    """Embed a workload with all contestants in turns, and measure the machine's peaks before each round."""
    contest.set_workload(workload)
    agreement = checked_cosines(contest.vectors(workload, COMPARED_TEXTS))
    title = f"{model.name}, {workload.name}, {len(workload.texts)} texts"
    runs = alternate(contest.workers, rounds, "run", title, before=measure_peaks, workload=workload.name)
    return {
        "workload": workload.name,
        "model": model.name,
        "texts": len(workload.texts),
        "tokens": sum(workload.lengths),
        "fingerprint": workload.fingerprint,
        "padding_of_batches_of_32": workload.padding(),
        "rows": {
            name: {
                **_figures(workload, model.flops(workload), runs[name]),
                "precision": worker.about["precision"],
                "cosine_to_reference": agreement[name],
            }
            for name, worker in contest.workers.items()
        },
        "ratios": _ratios(runs),
    }


def checked_cosines(vectors: Mapping[str, Vectors], to: str = REFERENCE) -> dict[str, dict[str, float]]:
    """Return the mean and minimum cosine of each contestant's vectors with those of the reference.

    Args:
        vectors: The vectors of each contestant, [count, dim].
        to: The reference contestant; the first contestant if it is not among them.

    Raises:
        SystemExit: If the vectors of a contestant differ too much.
    """
    reference = vectors.get(to, next(iter(vectors.values())))
    agreement: dict[str, dict[str, float]] = {}
    for name, compared in vectors.items():
        values = cosines(compared, reference)
        agreement[name] = {"mean": float(values.mean()), "min": float(values.min())}
        if not agreement[name]["mean"] >= MIN_COSINE:
            raise SystemExit(f"{name} computes different vectors: the mean cosine to {to} is {values.mean():.3f}")
    return agreement


def _figures(workload: Workload, flops: float, runs: list[dict[str, Any]]) -> Result:
    cpu, wall = [run["cpu"] for run in runs], [run["wall"] for run in runs]
    return {
        "cpu_seconds": cpu,
        "wall_seconds": wall,
        "idle_cpu_seconds": [run["idle_cpu"] for run in runs],
        "texts_per_cpu_second": rates(len(workload.texts), cpu).as_dict(),
        "texts_per_second": rates(len(workload.texts), wall).as_dict(),
        "gflop_per_cpu_second": rates(flops / GIGA, cpu).as_dict(),
    }


def _ratios(runs: Mapping[str, list[dict[str, Any]]]) -> list[Result]:
    """Return the time of each peer divided by that of each configuration of Millpond, for CPU and wall time."""
    ours = [name for name in runs if BY_NAME[name].is_ours]
    peers = [name for name in runs if name not in ours]
    return [
        {
            "contestant": contestant,
            "peer": peer,
            **{
                clock: quotients([run[clock] for run in runs[peer]], [run[clock] for run in runs[contestant]]).as_dict()
                for clock in ("cpu", "wall")
            },
        }
        for contestant, peer in product(ours, peers)
    ]


def measure(settings: Settings) -> Result:
    """Measure all workloads; in a full run, also texts of full length with a model of the size of BERT-base."""
    result, peaks, model = new_result(settings), Peaks(), settings.model
    makers: dict[str, Callable[[], Workload]] = {"W1p": lambda: prose(model.tokenizer, settings.count(2000, 300))}
    if not settings.short:
        makers["W1"] = lambda: documentation(model.tokenizer, settings.count(2000, 300))
        makers["W2"] = lambda: full_length(model.tokenizer, settings.count(500, 125))
    plan = [(model, [make() for name, make in makers.items() if settings.wants(name)])]
    if not settings.short and settings.wants(LARGE_MODEL_WORKLOAD):
        large = bert_base(settings.environments)
        plan.append((large, [full_length(large.tokenizer, settings.count(40, 10))]))
    plan = [(each, workloads) for each, workloads in plan if workloads]
    if not plan:
        available = ", ".join((*makers, LARGE_MODEL_WORKLOAD))
        raise SystemExit(f"Unknown workloads {', '.join(settings.workloads)}. Available: {available}.")
    with Contest(settings.environments) as contest:
        for each, _ in plan:
            contest.prepare(settings.contestants, each)
    comparisons: list[Result] = []
    for each, texts in plan:
        with Contest(settings.environments) as contest:
            matrices = contest.matrices()
            contest.load(settings.contestants, each)
            result["torch"] = matrices.about
            for key, descriptions in contest.describe().items():
                result[key] = {**descriptions, **result[key]}  # the descriptions of the first model are kept
            measure_peaks = partial(peaks.measure, matrices)
            comparisons += [compare(workload, each, contest, settings.rounds, measure_peaks) for workload in texts]
    peak_gflops = _with_shares(comparisons, peaks)
    for comparison in comparisons:  # the page may show comparisons of several runs
        comparison["measured"] = {"date": result["date"], "rounds": result["rounds"], **_where(result)}
        comparison["peak_gflops"] = peak_gflops
    return {**result, "peak_gflops": peak_gflops, "comparisons": comparisons}


def _where(result: Result) -> Result:
    return {name: result["machine"][name] for name in ("processor", "cores", "revision")}


def _with_shares(comparisons: list[Result], peaks: Peaks) -> dict[str, dict[str, float]]:
    """Add to each row its share of the peak of its precision, the best of the run; returns the peaks."""
    for row in (row for comparison in comparisons for row in comparison["rows"].values()):
        row["share_of_peak"] = row["gflop_per_cpu_second"]["median"] / peaks.of(row["precision"]).high
    return {precision: peaks.of(precision).as_dict() for precision in PRECISIONS}


if __name__ == "__main__":
    settings = read_settings("embed_throughput", __doc__)
    write(measure(settings), settings)
