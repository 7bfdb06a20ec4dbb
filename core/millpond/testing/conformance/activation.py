"""ActivationConformance: tests of an activation on rows of any number and shape."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from millpond.plugin.registry import Entry
from millpond.plugin.specs import ActivationSpec
from millpond.testing.conformance.record import RecordConformance
from millpond.testing.contexts import bare_context
from millpond.testing.demands import demand, demand_same

Activation = Callable[[Tensor], Tensor]
SHAPES = ((7,), (1, 7), (5, 7), (64, 33), (3, 2, 7), (4, 1), (2, 384))
TOLERANCES: Mapping[str, float] = MappingProxyType({"float32": 1e-5, "bfloat16": 2e-2})


class ActivationConformance(RecordConformance):
    """Tests of one activation: the record's target, and the kernel of its op that models use in its place.

    Attributes:
        name: The activation's name.
        tolerances: The allowed error for each dtype.
        bounded: True if the results of huge values are finite.
    """

    kind: ClassVar[str] = "activation"
    tolerances: ClassVar[Mapping[str, float]] = TOLERANCES
    bounded: ClassVar[bool] = True

    @pytest.fixture
    def functions(self, entry: Entry[ActivationSpec]) -> dict[str, Activation]:
        """The record's target and the function that models use, by their names in error messages."""
        ctx = bare_context(self.registry(), batch_invariant=True)
        return {f"{self.name} (target)": entry.load(), f"{self.name} (ctx.activation)": ctx.activation(self.name)}

    def test_shape_is_kept(self, functions: dict[str, Activation]) -> None:
        """Vectors, matrices, higher dimensions and empty tensors keep their shape, in float32 and bfloat16."""
        for label, activation in functions.items():
            for dtype in self.tolerances:
                for shape in (*SHAPES, (0, 7)):
                    output = activation(_draw(shape).to(getattr(torch, dtype)))
                    shapes = f"{list(output.shape)} for {list(shape)}"
                    demand(output.shape == shape, f"{label} returns the shape {shapes}, in {dtype}")
                    demand(bool(torch.isfinite(output).all()), f"{label} returns NaN or infinity, in {dtype}")

    def test_rows_are_independent(self, functions: dict[str, Activation]) -> None:
        """A row has the same result, bit for bit, alone, among others, and among huge values."""
        for label, activation in functions.items():
            for width in (1, 2, 3, 33):
                x = _draw((65, width))
                together = activation(x.clone())
                for row in range(len(x)):
                    huge = x * 1e3
                    huge[row] = x[row]
                    alone = activation(x[row : row + 1].clone())[0]
                    for output, batch in ((together[row], "others"), (activation(huge)[row], "huge values")):
                        what = f"{label}, row {row} of {width} values, among {batch} compared with alone"
                        demand_same(output, alone, 0.0, what)

    def test_target_and_kernel_agree(self, functions: dict[str, Activation]) -> None:
        """The function that models use equals the record's target; results in bfloat16 are close to float32."""
        target, used = functions.values()
        for shape in SHAPES:
            x = _draw(shape)
            expected = target(x.clone())
            demand_same(used(x.clone()), expected, self.tolerances["float32"], f"{self.name}, {list(shape)}")
            for dtype, tolerance in self.tolerances.items():
                rounded = target(x.to(getattr(torch, dtype))).float()
                what = f"{self.name} in {dtype} compared with float32, {list(shape)}"
                demand_same(rounded, expected, tolerance, what)

    def test_input_is_not_changed(self, functions: dict[str, Activation]) -> None:
        """The input is not written to: other poolers may read the same rows."""
        for label, activation in functions.items():
            x = _draw((5, 7))
            rows = x.clone()
            activation(rows)
            demand(torch.equal(rows, x), f"{label} writes into its input")

    def test_zeros_and_huge_values(self, functions: dict[str, Activation]) -> None:
        """The results of zeros and of values around 1e4 are finite."""
        for label, activation in functions.items():
            for size in (0.0, 1e4) if self.bounded else (0.0,):
                output = activation(_draw((5, 7)) * size)
                demand(
                    bool(torch.isfinite(output).all()), f"{label} returns NaN or infinity for values around {size:g}"
                )

    def test_nan_is_kept_in_its_row(self, functions: dict[str, Activation]) -> None:
        """NaN appears in the result of its own row and in no other, so that the engine can reject it."""
        for label, activation in functions.items():
            x = _draw((5, 7))
            clean = activation(x.clone())
            x[2] = torch.nan
            output = activation(x)
            demand(not torch.isfinite(output[2]).all(), f"{label} returns finite numbers for NaN")
            others = [0, 1, 3, 4]
            demand_same(output[others], clean[others], self.tolerances["float32"], f"{label}, rows next to NaN")


def _draw(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))
