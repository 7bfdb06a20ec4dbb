"""A kernel on trial: what it makes of random tensors, and what the reference of its op makes of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from millpond.testing.demands import demand
from millpond.testing.kernel_cases import KernelCases, Setting, Tensors

SHORT = (4, 6, 6, 1, 19)
FILL = 7.0  # what lies between the rows and columns of a tensor with gaps


class Sample(NamedTuple):
    """The arguments of one call.

    Attributes:
        tensors: The tensors, by name.
        lengths: The tokens of each sequence.
        setting: What the op is asked to do.
    """

    tensors: Tensors
    lengths: tuple[int, ...]
    setting: Setting

    def __str__(self) -> str:
        return f"lengths {self.lengths}, {dict(self.setting)}"

    def rows(self, place: int) -> slice:
        """The rows of a sequence."""
        start = sum(self.lengths[:place])
        return slice(start, start + self.lengths[place])

    def replace(self, tensors: Tensors) -> "Sample":
        """The same with other tensors in place of those that are named."""
        return self._replace(tensors={**self.tensors, **tensors})


@dataclass(frozen=True, kw_only=True)
class KernelTrial:
    """A kernel that can run here, with all that it takes to try it.

    Attributes:
        name: Its full name.
        kernel: What its record's target names.
        reference: The kernel that it is held against.
        cases: How arguments are made.
        device: Where it runs.
        dtypes: What it computes in.
        tolerances: For each dtype, how far it may be off, in units of the largest value expected (1 at the least).
        batch_invariant: Whether its record promises the same bits whatever shares the batch.
        serves: What its record says that it does of that which not every kernel of the op does.
    """

    name: str
    kernel: Callable[..., Any]
    reference: Callable[..., Any]
    cases: KernelCases
    device: torch.device
    dtypes: tuple[torch.dtype, ...]
    tolerances: Mapping[str, float]
    batch_invariant: bool = False
    features: tuple[str, ...] = ()

    @property
    def settings(self) -> Sequence[Setting]:
        """What it can be asked to do."""
        return [
            setting
            for setting in self.cases.settings()
            if set(self.cases.required_features(setting)) <= set(self.features)
        ]

    @property
    def tolerance(self) -> float:
        """How far it may be off in the first of its dtypes."""
        return self.tolerances[_name(self.dtypes[0])]

    def draw(
        self,
        lengths: Sequence[int],
        width: int,
        setting: Setting,
        *,
        dtype: torch.dtype | None = None,
        seed: int = 0,
    ) -> Sample:
        """Random tensors where the kernel runs, in the first of its dtypes if none is named."""
        generator = torch.Generator().manual_seed(seed)
        tensors = self.cases.tensors(sum(lengths), width, setting, generator)
        there = {name: tensor.to(self.device, dtype or self.dtypes[0]) for name, tensor in tensors.items()}
        return Sample(there, tuple(lengths), setting)

    def each_setting(self) -> Iterator[Sample]:
        """Random tensors of a few short sequences for each setting, one width after the other."""
        for number, setting in enumerate(self.settings):
            widths = self.cases.widths[1:] or self.cases.widths
            yield self.draw(SHORT, widths[number % len(widths)], setting, seed=number)

    def run(self, sample: Sample) -> Tensor:
        """What the kernel makes of copies of the tensors."""
        return self.cases.call(self.kernel, copies(sample.tensors), sample.lengths, sample.setting)

    def shares(self, sample: Sample) -> Sequence[Tensor]:
        """What the kernel makes of each sequence."""
        return self.cases.parts(self.run(sample), sample.lengths)

    def expected(self, sample: Sample) -> Tensor:
        """What the reference makes of the tensors, in float32 whatever their dtype."""
        full = {name: tensor.float() for name, tensor in copies(sample.tensors).items()}
        return self.cases.call(self.reference, full, sample.lengths, sample.setting)

    def compare(
        self, lengths: Sequence[int], width: int, setting: Setting, *, dtype: torch.dtype | None = None, seed: int = 0
    ) -> None:
        """Hold the kernel against the reference on random tensors: shape, dtype, device, values."""
        dtype = dtype or self.dtypes[0]
        sample = self.draw(lengths, width, setting, dtype=dtype, seed=seed)
        what = f"{sample}, width {width}, {_name(dtype)}"
        found = self.run(sample)
        model = self.cases.call(self.reference, copies(sample.tensors), sample.lengths, setting)
        kind, wanted = ((tuple(x.shape), _name(x.dtype), x.device.type) for x in (found, model))
        demand(kind == wanted, f"{self.name} gives {kind}, the reference {wanted}, for {what}")
        self.demand_close(found, self.expected(sample), self.tolerances[_name(dtype)], what)

    def demand_close(self, found: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
        """Demand that a result is what is expected; NaN never is."""
        error = float((found.float() - expected.float()).abs().max()) / max(1.0, float(expected.abs().max()))
        demand(error <= tolerance, f"{self.name} is off by {error:.2g} where {tolerance:.2g} is allowed, for {what}")

    def demand_independent(self, sample: Sample) -> None:
        """Demand that a sequence alone, among others, and among huge ones, has one result."""
        for place, share in enumerate(self.shares(sample)):
            (alone,) = self.shares(self.alone(sample, place))
            huge = self.shares(self.among_huge(sample, place))[place]
            for found, how in ((share, "among others"), (huge, "among huge ones")):
                what = f"sequence {place} of {sample}, {how} beside alone"
                self.demand_close(found, alone, self.tolerance, what)
                kept = not self.batch_invariant or torch.equal(found, alone)
                demand(kept, f"{self.name} promises the same bits whatever shares the batch, and breaks it for {what}")

    def alone(self, sample: Sample, place: int) -> Sample:
        """One of the sequences without its batch mates."""
        own = {name: sample.tensors[name][sample.rows(place)] for name in self._packed(sample)}
        return sample.replace(own)._replace(lengths=(sample.lengths[place],))

    def among_huge(self, sample: Sample, place: int) -> Sample:
        """One of the sequences among others that are a thousand times as large."""
        huge = {name: sample.tensors[name] * 1e3 for name in self._packed(sample)}
        for name, tensor in huge.items():
            tensor[sample.rows(place)] = sample.tensors[name][sample.rows(place)]
        return sample.replace(huge)

    def enlarged(self, sample: Sample, size: float) -> Sample:
        """The same with values that are so many times as large."""
        names = [name for name in self.cases.enlarged if name in sample.tensors]
        return sample.replace({name: sample.tensors[name] * size for name in names})

    def _packed(self, sample: Sample) -> list[str]:
        return [name for name in self.cases.packed if name in sample.tensors]


def copies(tensors: Tensors) -> Tensors:
    """The tensors with memory of their own."""
    return {name: tensor.clone() for name, tensor in tensors.items()}


def wider(x: Tensor) -> tuple[Tensor, Tensor]:
    """The values in a view whose rows are further apart than they are wide, and the tensor around it."""
    around = x.new_full((*x.shape[:-1], x.shape[-1] + 3), FILL)
    view = around[..., 1 : 1 + x.shape[-1]]
    return view.copy_(x), around


def every_other(x: Tensor) -> tuple[Tensor, Tensor]:
    """The values in a view of every other column, and the tensor around it."""
    around = x.new_full((*x.shape[:-1], 2 * x.shape[-1]), FILL)
    return around[..., ::2].copy_(x), around


def turned(x: Tensor) -> tuple[Tensor, Tensor]:
    """The values in a view whose columns lie behind one another, twice: there is nothing around it."""
    view = x.transpose(0, -1).clone(memory_format=torch.contiguous_format).transpose(0, -1)
    return view, view


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
