"""ActivationConformance: an activation maps rows of any number and leaves what it is given as it is."""

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
    """Tests of one activation: the record's target, and the kernel of its op where models compute it by that.

    Attributes:
        name: The activation's name.
        tolerances: For each dtype, how far two ways to the same result may be apart.
        bounded: Whether huge values give finite ones.
    """

    kind: ClassVar[str] = "activation"
    tolerances: ClassVar[Mapping[str, float]] = TOLERANCES
    bounded: ClassVar[bool] = True

    @pytest.fixture
    def ways(self, entry: Entry[ActivationSpec]) -> dict[str, Activation]:
        """The function that the record names, and the one that models get, by what they are called in complaints."""
        ctx = bare_context(self.registry(), batch_invariant=True)
        return {f"{self.name}, the target": entry.load(), f"{self.name}, by ctx.activation": ctx.activation(self.name)}

    def test_shape_stays(self, ways: dict[str, Activation]) -> None:
        """Values, rows, and rows of rows; none at all; float32 and bfloat16."""
        for way, activation in ways.items():
            for dtype in self.tolerances:
                for shape in (*SHAPES, (0, 7)):
                    found = activation(_draw(shape).to(getattr(torch, dtype)))
                    demand(found.shape == shape, f"{way} makes {list(found.shape)} of {list(shape)}, in {dtype}")
                    demand(bool(torch.isfinite(found).all()), f"{way} makes what is not finite, in {dtype}")

    def test_rows_do_not_matter_to_each_other(self, ways: dict[str, Activation]) -> None:
        """A row alone, among others, and among huge ones has one result, to the bit."""
        for way, activation in ways.items():
            for width in (1, 2, 3, 33):
                x = _draw((65, width))
                together = activation(x.clone())
                for row in range(len(x)):
                    huge = x * 1e3
                    huge[row] = x[row]
                    alone = activation(x[row : row + 1].clone())[0]
                    for found, how in ((together[row], "others"), (activation(huge)[row], "huge ones")):
                        demand_same(found, alone, 0.0, f"{way}, row {row} of {width} values among {how} beside alone")

    def test_both_ways_agree(self, ways: dict[str, Activation]) -> None:
        """What models get is what the record names, in each dtype; bfloat16 is close to float32."""
        named, given = ways.values()
        for shape in SHAPES:
            x = _draw(shape)
            expected = named(x.clone())
            demand_same(given(x.clone()), expected, self.tolerances["float32"], f"{self.name}, {list(shape)}")
            for dtype, tolerance in self.tolerances.items():
                rounded = named(x.to(getattr(torch, dtype))).float()
                demand_same(rounded, expected, tolerance, f"{self.name} in {dtype} beside float32, {list(shape)}")

    def test_what_it_is_given_stays_as_it_is(self, ways: dict[str, Activation]) -> None:
        """The rows may be those of the model: another pooler reads them too."""
        for way, activation in ways.items():
            x = _draw((5, 7))
            given = x.clone()
            activation(given)
            demand(torch.equal(given, x), f"{way} writes into what it is given")

    def test_zeros_and_huge_values(self, ways: dict[str, Activation]) -> None:
        """Zeros, and values of the size 1e4, give finite ones."""
        for way, activation in ways.items():
            for size in (0.0, 1e4) if self.bounded else (0.0,):
                found = activation(_draw((5, 7)) * size)
                demand(bool(torch.isfinite(found).all()), f"{way} makes what is not finite of values of size {size:g}")

    def test_what_is_no_number_is_seen(self, ways: dict[str, Activation]) -> None:
        """NaN shows in its own row, and in no other: results that are not finite are refused."""
        for way, activation in ways.items():
            x = _draw((5, 7))
            clean = activation(x.clone())
            x[2] = torch.nan
            found = activation(x)
            demand(not torch.isfinite(found[2]).all(), f"{way} makes finite numbers of NaN")
            others = [0, 1, 3, 4]
            demand_same(found[others], clean[others], self.tolerances["float32"], f"{way}, rows beside one of NaN")


def _draw(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))
