"""Measurements of ``millpond bench``: each kernel with several batch sizes and numbers of workers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import product
from statistics import median

import torch

from millpond.engine.scheduler import batch_limits
from millpond.loading.arguments import Arguments
from millpond.loading.build import build_model
from millpond.machine import available_cores
from millpond.model.model_layers import ModelLayers
from millpond.plugin.kernels import rank_kernels
from millpond.plugin.registry import Registry
from millpond.types.config import EngineConfig
from millpond_cli.benchmark.workload import BenchmarkModel, Sample, Workload
from millpond_command.progress import Progress

DEFAULT_KERNELS = "default"
BATCH_SIZES = (0.5, 1, 2, 4)  # relative to the default of the device
ROUNDS = 3
MAX_CORES_FOR_ALL_COUNTS = 4
MIN_TOKENS_PER_WORKER = 256
WARM_UP_TOKENS = 1024
MIN_RATIO = 0.5  # a kernel below this fraction of the default's speed is measured only once


@dataclass(frozen=True, kw_only=True)
class Combination:
    """A kernel and the settings that it is measured with.

    Attributes:
        kernel: ``op=variant``, or ``DEFAULT_KERNELS``.
        batch_tokens: The maximum number of tokens of a batch.
        workers: The number of workers.
    """

    kernel: str
    batch_tokens: int
    workers: int


@dataclass(kw_only=True)
class Measurement:
    """The runs of one combination.

    Attributes:
        combination: The combination.
        samples: The runs, one per round.
        ratios: The speed of each run, relative to the default settings in the same round.
    """

    combination: Combination
    samples: list[Sample] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)

    @property
    def tokens_per_second(self) -> float:
        """The median by wall-clock time."""
        return median(sample.tokens / sample.wall for sample in self.samples)

    @property
    def tokens_per_cpu_second(self) -> float:
        """The median by CPU time of the whole process."""
        return median(sample.tokens / max(sample.cpu, 1e-9) for sample in self.samples)

    @property
    def ratio(self) -> float:
        """The median speed by wall-clock time, relative to the default settings."""
        return median(self.ratios)


class Benchmark:
    """Loads a model with each kernel in turn and measures its speed.

    Args:
        registry: The registry of plugin records.
        layers: What is stated about the model.
        arguments: The options of the model.
        device: The device that the model runs on.
        seconds: The approximate duration of the whole measurement.
    """

    def __init__(
        self,
        registry: Registry,
        layers: ModelLayers,
        arguments: Arguments,
        *,
        device: torch.device,
        seconds: float,
    ) -> None:
        self._registry, self._layers, self._arguments = registry, layers, arguments
        self._device, self._seconds = device, seconds
        self._workers = worker_counts(available_cores() if device.type == "cpu" else 1)
        default_tokens, _ = batch_limits(EngineConfig(), device)
        self._batch_tokens = [int(size * default_tokens) for size in BATCH_SIZES]
        self._default = Combination(kernel=DEFAULT_KERNELS, batch_tokens=default_tokens, workers=max(self._workers))

    def run(self, new_progress: Callable[[int], Progress]) -> list[Measurement]:
        """Measure all combinations; the default kernels come first.

        Args:
            new_progress: Returns the progress of a number of runs. Slow kernels may take fewer.
        """
        with closing(self._load({})) as default:
            kernels = [DEFAULT_KERNELS, *self._alternatives(default)]
            workload = self._workload(default, len(kernels))
            measurements: list[Measurement] = []
            with new_progress(len(kernels) * ROUNDS * self.num_combinations()) as progress:
                for kernel in kernels:
                    measurements += self._measure(kernel, default, workload, progress)
        return measurements

    def num_combinations(self) -> int:
        """Return the number of combinations for one kernel."""
        return len(self._batch_tokens) * len(self._workers)

    def _measure(
        self, kernel: str, default: BenchmarkModel, workload: Workload, progress: Progress
    ) -> list[Measurement]:
        """Measure all combinations of one kernel; each round also measures the default settings."""
        if kernel == DEFAULT_KERNELS:
            return self._rounds(kernel, default, default, workload, progress)
        op, _, variant = kernel.partition("=")
        with closing(self._load({op: variant})) as bench:
            return self._rounds(kernel, bench, default, workload, progress)

    def _rounds(
        self, kernel: str, bench: BenchmarkModel, default: BenchmarkModel, workload: Workload, progress: Progress
    ) -> list[Measurement]:
        measurements = [
            Measurement(combination=Combination(kernel=kernel, batch_tokens=batch_tokens, workers=workers))
            for batch_tokens, workers in product(self._batch_tokens, self._workers)
        ]
        _run(bench, workload, measurements[0].combination)  # the first run of a model is slow
        for _ in range(ROUNDS):
            baseline = _run(default, workload, self._default)
            for measurement in measurements:
                sample = _run(bench, workload, measurement.combination)
                measurement.samples.append(sample)
                measurement.ratios.append(baseline.wall / sample.wall)
                progress.update(1, kernel)
            if max(measurement.ratio for measurement in measurements) < MIN_RATIO:
                break
        return measurements

    def _load(self, kernels: Mapping[str, str]) -> BenchmarkModel:
        compute = self._arguments.compute
        compute = replace(compute, kernels={**compute.kernels, **kernels})
        return BenchmarkModel(build_model(self._layers, replace(self._arguments, compute=compute), self._device))

    def _alternatives(self, bench: BenchmarkModel) -> Iterator[str]:
        """Yield the kernels that could replace the selected kernel of an op, as ``op=variant``."""
        for op, op_context in sorted(bench.loaded.context.requested.ops.items()):
            if op in self._arguments.compute.kernels:
                continue
            chosen, *others = rank_kernels(self._registry, op, op_context)
            quantization = chosen.entry.spec.quantization
            fitting = [it.entry for it in others if it.fits and it.entry.spec.quantization == quantization]
            variants = [chosen.entry.spec.variant, *(entry.spec.variant for entry in fitting)]
            for entry in fitting:
                shortest = entry.spec.variant if variants.count(entry.spec.variant) == 1 else entry.qualified
                yield f"{op}={shortest}"

    def _workload(self, bench: BenchmarkModel, num_kernels: int) -> Workload:
        """Return a workload that can be measured in the requested duration."""
        warm_up = bench.draw_workload(WARM_UP_TOKENS)
        _run(bench, warm_up, self._default)
        rate = WARM_UP_TOKENS / _run(bench, warm_up, self._default).wall
        runs = num_kernels * (1 + ROUNDS * (1 + self.num_combinations()))
        # An accelerator is slow with less than a full batch.
        least = MIN_TOKENS_PER_WORKER * max(self._workers) if self._device.type == "cpu" else max(self._batch_tokens)
        return bench.draw_workload(max(int(rate * self._seconds / runs), least))


def worker_counts(cores: int) -> list[int]:
    """Return the numbers of workers to measure: all of them up to 4 cores, otherwise 1, half of the cores and all."""
    if cores <= MAX_CORES_FOR_ALL_COUNTS:
        return list(range(1, cores + 1))
    return [1, cores // 2, cores]


def fastest(measurements: Sequence[Measurement]) -> Measurement:
    """Return the measurement with the highest speed by wall-clock time."""
    return max(measurements, key=lambda it: it.ratio)


def _run(bench: BenchmarkModel, workload: Workload, combination: Combination) -> Sample:
    return bench.run(workload, max_num_batched_tokens=combination.batch_tokens, num_workers=combination.workers)
