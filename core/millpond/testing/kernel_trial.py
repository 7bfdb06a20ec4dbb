"""KernelTrial: runs a kernel and the reference of its op on random tensors, and compares the results."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from millpond.testing.demands import demand
from millpond.testing.kernel_cases import KernelCases, OpOptions, Tensors

SHORT_LENGTHS = (4, 6, 6, 1, 19)
FILL = 7.0  # the values between the rows and columns of a tensor with gaps


class Sample(NamedTuple):
    """The arguments of one call.

    Attributes:
        tensors: The tensors, by name.
        lengths: The number of tokens of each sequence.
        setting: The variant of the op.
    """

    tensors: Tensors
    lengths: tuple[int, ...]
    setting: OpOptions

    def __str__(self) -> str:
        return f"lengths {self.lengths}, {dict(self.setting)}"

    def rows(self, index: int) -> slice:
        """Return the rows of a sequence."""
        start = sum(self.lengths[:index])
        return slice(start, start + self.lengths[index])

    def replace(self, tensors: Tensors) -> "Sample":
        """Return a copy with other tensors for these names."""
        return self._replace(tensors={**self.tensors, **tensors})


@dataclass(frozen=True, kw_only=True)
class KernelTrial:
    """A kernel that can run on this machine, with its reference and test arguments.

    Attributes:
        name: The full name of the kernel.
        kernel: The function of its record.
        reference: The kernel that it is compared with.
        cases: The test arguments of the op.
        device: The device.
        dtypes: The dtypes to test.
        tolerances: The allowed error for each dtype, relative to the largest expected value (at least 1).
        batch_invariant: True if its record states that results do not depend on the batch, bit for bit.
        features: The optional features in its record.
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
    def settings(self) -> Sequence[OpOptions]:
        """The variants of the op that the kernel supports."""
        return [
            setting
            for setting in self.cases.settings()
            if set(self.cases.required_features(setting)) <= set(self.features)
        ]

    @property
    def tolerance(self) -> float:
        """The allowed error in the first of its dtypes."""
        return self.tolerances[_name(self.dtypes[0])]

    def draw(
        self,
        lengths: Sequence[int],
        width: int,
        setting: OpOptions,
        *,
        dtype: torch.dtype | None = None,
        seed: int = 0,
    ) -> Sample:
        """Return random tensors on the kernel's device, by default in the first of its dtypes."""
        generator = torch.Generator().manual_seed(seed)
        tensors = self.cases.tensors(sum(lengths), width, setting, generator)
        on_device = {name: tensor.to(self.device, dtype or self.dtypes[0]) for name, tensor in tensors.items()}
        return Sample(on_device, tuple(lengths), setting)

    def each_setting(self) -> Iterator[Sample]:
        """Yield random tensors of a few short sequences for each setting, with varying widths."""
        for number, setting in enumerate(self.settings):
            widths = self.cases.widths[1:] or self.cases.widths
            yield self.draw(SHORT_LENGTHS, widths[number % len(widths)], setting, seed=number)

    def run(self, sample: Sample) -> Tensor:
        """Return the result of the kernel for copies of the tensors."""
        return self.cases.call(self.kernel, copies(sample.tensors), sample.lengths, sample.setting)

    def parts(self, sample: Sample) -> Sequence[Tensor]:
        """Return the kernel's result of each sequence."""
        return self.cases.parts(self.run(sample), sample.lengths)

    def expected(self, sample: Sample) -> Tensor:
        """Return the result of the reference, computed in float32."""
        full = {name: tensor.float() for name, tensor in copies(sample.tensors).items()}
        return self.cases.call(self.reference, full, sample.lengths, sample.setting)

    def compare(
        self, lengths: Sequence[int], width: int, setting: OpOptions, *, dtype: torch.dtype | None = None, seed: int = 0
    ) -> None:
        """Compare the kernel with the reference on random tensors: shape, dtype, device, values."""
        dtype = dtype or self.dtypes[0]
        sample = self.draw(lengths, width, setting, dtype=dtype, seed=seed)
        what = f"{sample}, width {width}, {_name(dtype)}"
        actual = self.run(sample)
        reference = self.cases.call(self.reference, copies(sample.tensors), sample.lengths, setting)
        form, expected_form = ((tuple(x.shape), _name(x.dtype), x.device.type) for x in (actual, reference))
        demand(form == expected_form, f"{self.name} returns {form}, the reference {expected_form}, for {what}")
        self.demand_close(actual, self.expected(sample), self.tolerances[_name(dtype)], what)

    def demand_close(self, actual: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
        """Fail unless a result is close to the expected one; NaN never is."""
        error = float((actual.float() - expected.float()).abs().max()) / max(1.0, float(expected.abs().max()))
        demand(error <= tolerance, f"{self.name}: the error is {error:.2g}, which exceeds {tolerance:.2g}, for {what}")

    def demand_independent(self, sample: Sample) -> None:
        """Fail unless each sequence has the same result alone, among others, and among huge values."""
        for index, among_others in enumerate(self.parts(sample)):
            (alone,) = self.parts(self.alone(sample, index))
            among_huge = self.parts(self.among_huge(sample, index))[index]
            for actual, batch in ((among_others, "among others"), (among_huge, "among huge values")):
                what = f"sequence {index} of {sample}, {batch} compared with alone"
                self.demand_close(actual, alone, self.tolerance, what)
                invariant = not self.batch_invariant or torch.equal(actual, alone)
                demand(invariant, f"{self.name} is declared batch-invariant, but the bits differ for {what}")

    def alone(self, sample: Sample, index: int) -> Sample:
        """Return one of the sequences without the others."""
        tensors = {name: sample.tensors[name][sample.rows(index)] for name in self._packed(sample)}
        return sample.replace(tensors)._replace(lengths=(sample.lengths[index],))

    def among_huge(self, sample: Sample, index: int) -> Sample:
        """Return one of the sequences together with the others, whose values are multiplied by 1000."""
        huge = {name: sample.tensors[name] * 1e3 for name in self._packed(sample)}
        for name, tensor in huge.items():
            tensor[sample.rows(index)] = sample.tensors[name][sample.rows(index)]
        return sample.replace(huge)

    def enlarged(self, sample: Sample, size: float) -> Sample:
        """Return the sample with its ``enlarged`` tensors multiplied by a factor."""
        names = [name for name in self.cases.enlarged if name in sample.tensors]
        return sample.replace({name: sample.tensors[name] * size for name in names})

    def _packed(self, sample: Sample) -> list[str]:
        return [name for name in self.cases.packed if name in sample.tensors]


def copies(tensors: Tensors) -> Tensors:
    """Return copies of the tensors."""
    return {name: tensor.clone() for name, tensor in tensors.items()}


def wider(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values in a view with gaps between its rows, and the tensor that contains the view."""
    around = x.new_full((*x.shape[:-1], x.shape[-1] + 3), FILL)
    view = around[..., 1 : 1 + x.shape[-1]]
    return view.copy_(x), around


def every_other(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values in a view of every second column, and the tensor that contains the view."""
    around = x.new_full((*x.shape[:-1], 2 * x.shape[-1]), FILL)
    return around[..., ::2].copy_(x), around


def column_major(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values in column-major order; the view covers its whole tensor, so it is returned twice."""
    view = x.transpose(0, -1).clone(memory_format=torch.contiguous_format).transpose(0, -1)
    return view, view


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
