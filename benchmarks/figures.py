"""Medians, ranges and ratios of repeated measurements."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True)
class Spread:
    """A median with its range."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Return the median, the minimum and the maximum of values."""
        return cls(statistics.median(values), min(values), max(values))

    def as_dict(self) -> dict[str, float]:
        """Return the fields for a JSON file."""
        return asdict(self)


def quotients(dividends: Sequence[float], divisors: Sequence[float]) -> Spread:
    """Return the ratio per round: a disturbance that slows down a round affects both sides."""
    return Spread.of([dividend / divisor for dividend, divisor in zip(dividends, divisors, strict=True)])


def rates(amount: float, seconds: Sequence[float]) -> Spread:
    """Return an amount per second of each run."""
    return Spread.of([amount / second for second in seconds])


def quantile(values: Sequence[float], share: float) -> float:
    """Return a quantile, interpolated linearly between the two nearest values."""
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def quantiles_of_rounds(rounds: Sequence[Sequence[float]], share: float) -> Spread:
    """Return a quantile of the values of all rounds, with the range of the quantiles of single rounds."""
    single = [quantile(values, share) for values in rounds]
    return Spread(quantile([value for values in rounds for value in values], share), min(single), max(single))
