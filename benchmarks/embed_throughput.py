"""How fast are texts embedded offline, beside sentence-transformers on each of its backends?

python benchmarks/embed_throughput.py [--short] [--contestants NAMES] [--workloads W1p,W1,W2,W2-base] [--rounds N]
    [--texts N] [--output FOLDER]

Compared are CPU seconds of the whole process, which a busy machine disturbs less than wall time; both are shown. Only
real tokens count as work.
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
PEAK_SIZE = 2048  # rows and columns of the matrices whose products are the peak
COMPARED = 200  # texts whose vectors are compared
ALIKE = 0.9  # mean cosine; whoever is below embeds something else
GIGA = 1e9
LARGE = "W2-base"  # W2 with a model of BERT-base's size


class Peaks:
    """What the machine reaches in products of large matrices: measured between the rounds, the best of them counts."""

    def __init__(self) -> None:
        self._rates: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}

    def measure(self, matrices: Worker) -> None:
        """Measure each precision once more."""
        for precision, found in self._rates.items():
            found.append(matrices.ask("peak", precision=precision, seconds=PEAK_SECONDS, size=PEAK_SIZE)["rate"])

    def of(self, precision: str) -> Spread:
        """The GFLOP a CPU second in a precision, so far."""
        return Spread.of(self._rates[precision])


def compare(
    workload: Workload, model: Model, contest: Contest, rounds: int, measure_peaks: Callable[[], None]
) -> Result:
    """Have all embed a workload in turns, with the machine's peaks measured before each round."""
    contest.give(workload)
    agreement = agreements(contest.vectors(workload, COMPARED))
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


def agreements(vectors: Mapping[str, Vectors], to: str = REFERENCE) -> dict[str, dict[str, float]]:
    """The cosines of each one's vectors to the reference's: all are to compute the same.

    Args:
        vectors: The vectors of each contestant, [count, dim].
        to: The contestant whose vectors the others' are compared with; the first, where it does not take part.

    Raises:
        SystemExit: If somebody computes something else.
    """
    reference = vectors.get(to, next(iter(vectors.values())))
    found: dict[str, dict[str, float]] = {}
    for name, own in vectors.items():
        alike = cosines(own, reference)
        found[name] = {"mean": float(alike.mean()), "min": float(alike.min())}
        if not found[name]["mean"] >= ALIKE:
            raise SystemExit(f"{name} computes something else: the mean cosine to {to} is {alike.mean():.3f}")
    return found


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
    """How many times as much each peer needs as each of ours, in CPU seconds and in wall time, round by round."""
    ours, peers = [[name for name in runs if BY_NAME[name].is_ours == own] for own in (True, False)]
    return [
        {
            "contestant": own,
            "peer": peer,
            **{
                clock: quotients([run[clock] for run in runs[peer]], [run[clock] for run in runs[own]]).as_dict()
                for clock in ("cpu", "wall")
            },
        }
        for own, peer in product(ours, peers)
    ]


def measure(settings: Settings) -> Result:
    """All workloads with the model; and, in a full run, texts of full length with a model of BERT-base's size."""
    result, peaks, model = new_result(settings), Peaks(), settings.model
    makers: dict[str, Callable[[], Workload]] = {"W1p": lambda: prose(model.tokenizer, settings.count(2000, 300))}
    if not settings.short:
        makers["W1"] = lambda: documentation(model.tokenizer, settings.count(2000, 300))
        makers["W2"] = lambda: full_length(model.tokenizer, settings.count(500, 125))
    plan = [(model, [make() for name, make in makers.items() if settings.wants(name)])]
    if not settings.short and settings.wants(LARGE):
        large = bert_base(settings.environments)
        plan.append((large, [full_length(large.tokenizer, settings.count(40, 10))]))
    plan = [(each, workloads) for each, workloads in plan if workloads]
    if not plan:
        raise SystemExit(f"no workload of {', '.join(settings.workloads)}; there are: {', '.join(makers)}, {LARGE}")
    with Contest(settings.environments) as contest:
        for each, _ in plan:
            contest.prepare(settings.contestants, each)
    comparisons: list[Result] = []
    for each, texts in plan:
        with Contest(settings.environments) as contest:
            matrices = contest.matrices()
            contest.enter(settings.contestants, each)
            result["torch"] = matrices.about
            for said, of in contest.describe().items():
                result[said] = {**of, **result[said]}  # of the first model, where both say it
            measure_peaks = partial(peaks.measure, matrices)
            comparisons += [compare(workload, each, contest, settings.rounds, measure_peaks) for workload in texts]
    peak_gflops = _with_shares(comparisons, peaks)
    for comparison in comparisons:  # each says when it was measured: the page may show those of several runs
        comparison["measured"] = {"date": result["date"], "rounds": result["rounds"], **_where(result)}
        comparison["peak_gflops"] = peak_gflops
    return {**result, "peak_gflops": peak_gflops, "comparisons": comparisons}


def _where(result: Result) -> Result:
    return {name: result["machine"][name] for name in ("processor", "cores", "revision")}


def _with_shares(comparisons: list[Result], peaks: Peaks) -> dict[str, dict[str, float]]:
    """Give each row its share of the peak of its precision, the best of the whole run; returns the peaks."""
    for row in (row for comparison in comparisons for row in comparison["rows"].values()):
        row["share_of_peak"] = row["gflop_per_cpu_second"]["median"] / peaks.of(row["precision"]).high
    return {precision: peaks.of(precision).as_dict() for precision in PRECISIONS}


if __name__ == "__main__":
    chosen = read_settings("embed_throughput", __doc__)
    write(measure(chosen), chosen)
