"""Medians, ranges and ratios of repeated runs."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True)
class Spread:
    """A median, and the range that it lies in."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """The median, the smallest and the largest of some values."""
        return cls(statistics.median(values), min(values), max(values))

    def as_dict(self) -> dict[str, float]:
        """The same for a JSON file."""
        return asdict(self)


def quotients(dividends: Sequence[float], divisors: Sequence[float]) -> Spread:
    """How many times larger the first is than the second, round by round: what slows a round down slows both."""
    return Spread.of([dividend / divisor for dividend, divisor in zip(dividends, divisors, strict=True)])


def rates(amount: float, seconds: Sequence[float]) -> Spread:
    """An amount a second, of each run."""
    return Spread.of([amount / second for second in seconds])


def quantile(values: Sequence[float], share: float) -> float:
    """The value that a share of the values lies below, interpolated between two of them."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def quantiles_of_rounds(rounds: Sequence[Sequence[float]], share: float) -> Spread:
    """A quantile over the values of all rounds, and the range of the quantile of single rounds."""
    single = [quantile(values, share) for values in rounds]
    return Spread(quantile([value for values in rounds for value in values], share), min(single), max(single))
