"""Candidates that are measured in alternation, and when one of them may be called faster. Knows nothing of models.

A machine that others use too is faster at one time than at another. What is measured side by side, round by round, has
met the same machine; what is measured one after the other has not.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal, NamedTuple

LEAST, MOST = 5, 11  # rounds
MANY = 8  # rounds, from which on the two that lie furthest out are set aside
SMALLEST_GAIN = 0.01  # a smaller one is not worth a setting that is no default
HOPELESS = 0.5  # of the incumbent's speed: one round says enough, or two
BEHIND = 0.9  # of the incumbent's speed, in every one of so many rounds
SOME = 3  # rounds
PATIENCE = 2.0  # times the seconds that were to be measured, after which too few rounds must do

By = Literal["cpu", "wall"]
Verdict = Literal["faster", "slower", "no_difference", "too_few_rounds", "hopeless"]


class Sample(NamedTuple):
    """One run: how many tokens it served, and the seconds that took, of the whole process and of the clock."""

    tokens: int
    cpu: float
    wall: float

    def rate(self, by: By) -> float:
        """Tokens a second."""
        return self.tokens / max(self.cpu if by == "cpu" else self.wall, 1e-9)


@dataclass(eq=False)
class Candidate:
    """Something to measure.

    Attributes:
        run: Serves a workload once.
        samples: Its runs, one a round, from the first round on.
    """

    run: Callable[[], Sample]
    samples: list[Sample] = field(default_factory=list)

    def rate(self, by: By) -> float:
        """Tokens a second, the median of its runs."""
        return median(sample.rate(by) for sample in self.samples)


class Comparison(NamedTuple):
    """How many times as fast as the incumbent a challenger is.

    Attributes:
        ratio: The median of the rounds.
        spread: Half of what lies between the lowest and the highest round.
        rounds: How many rounds both ran.
    """

    ratio: float
    spread: float
    rounds: int

    @property
    def verdict(self) -> Verdict:
        """What may be said: a difference counts if it is larger than the spread, over enough rounds."""
        doubt = max(self.spread, SMALLEST_GAIN)
        if self.ratio + self.spread < HOPELESS and self.rounds < SOME:
            return "hopeless"
        if self.ratio < 1 - doubt and self.rounds >= SOME:
            return "slower"
        if self.rounds < LEAST:
            return "too_few_rounds"
        return "faster" if self.ratio > 1 + doubt else "no_difference"


def compare(incumbent: Candidate, challenger: Candidate, by: By) -> Comparison:
    """Compare two that were measured in alternation, round by round."""
    pairs = zip(incumbent.samples, challenger.samples, strict=False)  # who fell behind ran fewer rounds
    ratios = sorted(theirs.rate(by) / ours.rate(by) for ours, theirs in pairs)
    outer = ratios[1:-1] if len(ratios) >= MANY else ratios
    return Comparison(median(ratios), (outer[-1] - outer[0]) / 2, len(ratios))


def alternate(
    incumbent: Candidate,
    challengers: Sequence[Candidate],
    *,
    by: By,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Let all run in turns, until it is clear who is behind, or the time is over.

    Args:
        incumbent: The one that the others are compared with.
        challengers: The others; one that is clearly slower is not run again.
        by: What they are compared by.
        seconds: How long it may take: enough rounds come first, but for a machine that is much slower than expected.
        clock: What says the time, in seconds.
    """
    start, left = clock(), [incumbent, *challengers]
    for number in range(MOST):
        begun, turn = clock(), number % len(left)
        for candidate in [*left[turn:], *left[:turn]]:
            candidate.samples.append(candidate.run())
        left = [incumbent, *(it for it in left[1:] if not _is_behind(incumbent, it, by))]
        now = clock()
        over = 2 * now - begun > start + seconds  # another round like this one would end too late
        if len(left) == 1 or (over and (number + 1 >= LEAST or now > start + PATIENCE * seconds)):
            return


def _is_behind(incumbent: Candidate, challenger: Candidate, by: By) -> bool:
    found = compare(incumbent, challenger, by)
    few = 1 if by == "cpu" else 2  # a machine that stood still for a while leaves its mark on the clock alone
    if found.rounds < SOME:
        return found.rounds >= few and found.ratio + found.spread < HOPELESS
    return found.ratio + found.spread < BEHIND
