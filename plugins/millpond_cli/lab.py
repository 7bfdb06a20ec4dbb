"""Where ``millpond tune`` measures: models that are loaded, the time that is spent, the record of what was tried."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import torch

from millpond.config import EngineConfig
from millpond.loading.arguments import Arguments
from millpond.loading.build import build_model
from millpond.loading.profile import ProfileSettings
from millpond.loading.resolve import Resolution
from millpond.machine import available_cores
from millpond.registry import Registry
from millpond_cli.bench import Bench, Workload
from millpond_cli.contest import By, Candidate, Comparison, Sample, alternate, compare

DEFAULT_BUDGET: int = EngineConfig().max_num_batched_tokens
SMALLEST_RUN = 256  # tokens a worker
SHORTEST_RUN = 0.1  # seconds, if there is time; what is over sooner cannot be measured well
WARM, WARM_SHARE = 0.2, 0.05  # seconds, and share of the time, of a run that says how fast the model is
WARM_RUNS = 3  # the first ones are slow


class Show(Protocol):
    """Who is told how far it is."""

    def phase(self, name: str) -> None:
        """Something else is measured from now on."""

    def advance(self, seconds: float) -> None:
        """So many seconds more were measured."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What was tried, and what came of it.

    Attributes:
        setting: The name of an op, "max_num_batched_tokens", "num_workers"; or "all" for all that was chosen.
        value: What was tried: the name of a variant, or a number.
        verdict: "default", "chosen", "faster" than the default and not chosen, "slower", "no_difference" that can be
            told, "too_few_rounds" to tell, "hopeless" after a run or two, "refused", or "not_tried".
        reason: Why it was refused or not tried.
        tokens_per_cpu_second: The median of its rounds; None if it did not run.
        tokens_per_second: The same by the clock.
        ratio: How many times as fast as the default beside it.
        spread: Half of what lies between the lowest and the highest ratio.
        rounds: How many rounds it ran beside the default.
    """

    setting: str
    value: str | int
    verdict: str
    reason: str = ""
    tokens_per_cpu_second: float | None = None
    tokens_per_second: float | None = None
    ratio: float | None = None
    spread: float | None = None
    rounds: int = 0


@dataclass(frozen=True, eq=False)
class Rival:
    """A value of a setting, and what measures it."""

    value: str | int
    candidate: Candidate


class Lab(AbstractContextManager["Lab"]):
    """Loads a model in variations, measures them, and writes down what was tried. Leaving its context ends all workers.

    Attributes:
        registry: All that plugins brought.
        given: The kernels that the caller named: they are taken, and no others of their op are tried.
        quality: The dtype and the quantization of what is measured.
        by: What kernels and budgets are compared by: on a CPU the seconds of the processor, for they change the work,
            and who else is at work changes the time.
        cores: The workers that there are by default.
        bench: The model as it was best so far.
        settings: How that differs from the default.
        rate: The tokens that it serves in a second.
        seconds: How long to measure, loading not counted.
        spent: How long it was measured so far.
        attempts: What was tried so far.
        show: Who is told how far it is.
    """

    def __init__(
        self,
        registry: Registry,
        resolution: Resolution,
        arguments: Arguments,
        *,
        device: torch.device,
        seconds: float,
        show: Show,
    ) -> None:
        """Load the model as it is by default, and warm up."""
        self._resolution, self._arguments, self._device = resolution, arguments, device
        self._benches: list[Bench] = []
        self.registry, self.seconds, self.show = registry, seconds, show
        self.given: Mapping[str, str] = arguments.compute.kernels
        self.quality = resolution.dtype.value, arguments.compute.quantization
        self.by: By = "cpu" if device.type == "cpu" else "wall"
        self.cores = available_cores() if device.type == "cpu" else 1
        self.settings = ProfileSettings(kernels=dict(self.given))
        self.spent, self.rate = 0.0, 1.0
        self.attempts: list[Attempt] = []
        show.phase("loading")
        self.bench = self.load(self.given)

    def __exit__(self, *_: object) -> None:
        for bench in self._benches:
            bench.close()

    def load(self, kernels: Mapping[str, str]) -> Bench:
        """The model with other kernels."""
        arguments = self._arguments
        compute = replace(arguments.compute, kernels=kernels)
        loaded = build_model(self.registry, self._resolution, arguments.load, device=self._device, compute=compute)
        self._benches.append(Bench(loaded))
        return self._benches[-1]

    def drop(self, bench: Bench) -> None:
        """Let a model go that is not needed any more."""
        self._benches.remove(bench)
        bench.close()

    def warm_up(self) -> None:
        """Learn how fast the model is, from runs that come to last long enough."""
        self.show.phase("warming up")
        tokens, lasts = SMALLEST_RUN * self.cores, min(WARM, self.seconds * WARM_SHARE)
        self.run(self.bench, self.bench.draw(tokens), self.settings)
        for _ in range(WARM_RUNS):
            sample = self.run(self.bench, self.bench.draw(tokens), self.settings)
            self.rate = sample.rate("wall")
            if sample.wall >= lasts / 2:
                return
            tokens = max(tokens, int(self.rate * lasts))

    def run(self, bench: Bench, workload: Workload, settings: ProfileSettings) -> Sample:
        """Serve a workload once."""
        sample = bench.run(workload, **{"max_num_batched_tokens": DEFAULT_BUDGET, **settings.engine})
        self.spent += sample.wall
        self.show.advance(sample.wall)
        return sample

    def rival(
        self, value: str | int, bench: Bench, workload: Workload, settings: ProfileSettings | None = None
    ) -> Rival:
        """A value of a setting that is to be measured: with those settings, by default the best so far."""
        return Rival(value, Candidate(partial(self.run, bench, workload, settings or self.settings)))

    def with_settings(self, **changed: object) -> ProfileSettings:
        """The best settings so far, but for some."""
        return ProfileSettings(**{**self.settings.model_dump(), **changed})

    def tokens(self, seconds: float, *, runs: float, least: int = SMALLEST_RUN) -> int:
        """The tokens of a run such that so many runs fit: a batch for each worker, or fewer if time is short."""
        most = self.enough(self.settings.max_num_batched_tokens or DEFAULT_BUDGET)
        return int(min(max(self.rate * seconds / runs, least * self.cores), most))

    def enough(self, budget: int) -> int:
        """The tokens of a run that is worth measuring: a batch for each worker, and not over in no time."""
        return int(max(budget * self.cores, self.rate * SHORTEST_RUN))

    def contest(self, setting: str, default: Rival, rivals: Sequence[Rival], *, by: By, seconds: float) -> Rival:
        """Measure the values of a setting beside the default; the one to take."""
        self.show.phase(setting)
        alternate(default.candidate, [rival.candidate for rival in rivals], by=by, seconds=seconds)
        rows = [judged(setting, default, rival, by) for rival in rivals]
        place = choose(rows)
        chosen = default if place is None else rivals[place]
        self.attempts.append(attempt(setting, default, "default"))
        self.attempts += [
            replace(row, verdict="chosen") if it is chosen else row for it, row in zip(rivals, rows, strict=True)
        ]
        self.rate = chosen.candidate.rate("wall")
        return chosen


def judged(setting: str, default: Rival, rival: Rival, by: By) -> Attempt:
    """What came of a rival that was measured beside the default."""
    said = compare(default.candidate, rival.candidate, by)
    by_clock = compare(default.candidate, rival.candidate, "wall")
    row = attempt(setting, rival, said.verdict, said)
    if said.verdict == "faster" and by_clock.verdict == "slower":
        return replace(row, verdict="slower", reason="it takes less work, and more time")
    return row


def choose(rows: Sequence[Attempt]) -> int | None:
    """The place of the rival to take: of those that cannot be told from the fastest the first; None if none is fast."""
    faster = {place: row.ratio for place, row in enumerate(rows) if row.verdict == "faster" and row.ratio is not None}
    if not faster:
        return None
    best = max(faster, key=faster.__getitem__)
    least = faster[best] - (rows[best].spread or 0.0)
    return next(place for place, ratio in faster.items() if ratio >= least)


def attempt(setting: str, rival: Rival, verdict: str, comparison: Comparison | None = None) -> Attempt:
    """What is written down of a value that ran."""
    candidate = rival.candidate
    ratio, spread, rounds = comparison or (1.0, 0.0, len(candidate.samples))
    return Attempt(
        setting=setting,
        value=rival.value,
        verdict=verdict,
        tokens_per_cpu_second=candidate.rate("cpu"),
        tokens_per_second=candidate.rate("wall"),
        ratio=ratio,
        spread=spread,
        rounds=rounds,
    )
