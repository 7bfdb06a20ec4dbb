"""Measuring in alternation: who runs when, who is not run again, and when somebody may be called faster."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond_cli.contest import LEAST, MOST, SOME, Candidate, Comparison, Sample, alternate, compare

SPEEDS = st.floats(0.2, 5)


@dataclass
class Machine:
    """A machine whose time passes when something runs on it, and whose speed may differ from round to round."""

    speeds: list[float] = field(default_factory=list)
    now: float = 0.0
    ran: list[str] = field(default_factory=list)

    def candidate(self, name, *rates):
        """Something that serves so many tokens a second: in each of its runs, or in all."""
        runs = iter(range(10**6))

        def run():
            number = next(runs)
            speed = self.speeds[number % len(self.speeds)] if self.speeds else 1.0
            seconds = 100 / (rates[number % len(rates)] * speed)
            self.now += seconds
            self.ran.append(name)
            return Sample(100, cpu=seconds / 2, wall=seconds)

        return Candidate(run)

    def clock(self):
        return self.now


def test_a_rate_is_tokens_a_second():
    sample = Sample(100, cpu=4.0, wall=8.0)
    assert (sample.rate("cpu"), sample.rate("wall")) == (25.0, 12.5)
    assert Sample(100, cpu=0.0, wall=1.0).rate("cpu") > 1e6


def test_all_run_in_each_round_in_an_order_that_turns():
    machine = Machine()
    one, two, three = (machine.candidate(name, 100) for name in "abc")
    alternate(one, [two, three], by="cpu", seconds=5 * 3, clock=machine.clock)
    assert ["".join(machine.ran[i : i + 3]) for i in range(0, len(machine.ran), 3)] == [
        "abc",
        "bca",
        "cab",
        "abc",
        "bca",
    ]
    assert {len(it.samples) for it in (one, two, three)} == {5}


@pytest.mark.parametrize(("seconds", "rounds"), [(6.0, LEAST), (20.0, 10), (1e9, MOST)])
def test_it_ends_when_the_time_is_over_but_not_before_enough_rounds(seconds, rounds):
    machine = Machine()
    one, two = machine.candidate("a", 100), machine.candidate("b", 100)
    alternate(one, [two], by="cpu", seconds=seconds, clock=machine.clock)
    assert len(one.samples) == len(two.samples) == rounds


def test_a_machine_that_is_much_slower_than_expected_is_not_waited_for():
    machine = Machine()
    one, two = machine.candidate("a", 1), machine.candidate("b", 1)
    alternate(one, [two], by="cpu", seconds=150, clock=machine.clock)
    assert len(one.samples) == 2
    assert compare(one, two, "cpu").verdict == "too_few_rounds"


def test_who_is_hopeless_runs_once_and_who_is_behind_a_few_times():
    machine = Machine()
    one, bad, behind, equal = (
        machine.candidate(name, rate) for name, rate in zip("abcd", (100, 40, 80, 101), strict=True)
    )
    alternate(one, [bad, behind, equal], by="cpu", seconds=1e9, clock=machine.clock)
    assert [len(it.samples) for it in (one, bad, behind, equal)] == [MOST, 1, SOME, MOST]
    assert [compare(one, it, "cpu").verdict for it in (bad, behind, equal)] == ["hopeless", "slower", "no_difference"]


def test_a_machine_that_stood_still_for_a_while_makes_nobody_hopeless():
    machine = Machine()
    one, stalled, slow = (
        machine.candidate("a", 100),
        machine.candidate("b", 0.1, *[100] * 20),
        machine.candidate("c", 30),
    )
    alternate(one, [stalled, slow], by="wall", seconds=1e9, clock=machine.clock)
    assert [len(it.samples) for it in (one, stalled, slow)] == [MOST, MOST, 2]
    assert [compare(one, it, "wall").verdict for it in (stalled, slow)] == ["no_difference", "hopeless"]


def test_when_all_are_behind_nothing_is_left_to_measure():
    machine = Machine()
    one, two = machine.candidate("a", 100), machine.candidate("b", 10)
    alternate(one, [two], by="cpu", seconds=1e9, clock=machine.clock)
    assert machine.ran == ["a", "b"]


@given(rate=SPEEDS, other=SPEEDS, speeds=st.lists(SPEEDS, min_size=1, max_size=12))
def test_a_machine_that_is_faster_at_one_time_than_at_another_does_not_matter(rate, other, speeds):
    machine = Machine(speeds=speeds)
    one, two = machine.candidate("a", 100 * rate), machine.candidate("b", 100 * other)
    alternate(one, [two], by="wall", seconds=1e9, clock=machine.clock)
    found = compare(one, two, "wall")
    assert found.ratio == pytest.approx(other / rate)
    assert found.spread == pytest.approx(0, abs=1e-6)


def test_the_spread_is_half_of_what_lies_between_the_rounds():
    machine = Machine()
    one, two = machine.candidate("a", 100), machine.candidate("b", 90, 100, 110, 120, 130)
    alternate(one, [two], by="cpu", seconds=10, clock=machine.clock)
    found = compare(one, two, "cpu")
    assert (found.rounds, found.ratio, found.spread) == (5, pytest.approx(1.1), pytest.approx(0.2))


def test_of_many_rounds_the_two_outermost_do_not_count():
    machine = Machine()
    one, two = machine.candidate("a", 100), machine.candidate("b", *[110] * 9, 10, 400)
    alternate(one, [two], by="cpu", seconds=1e9, clock=machine.clock)
    found = compare(one, two, "cpu")
    assert (found.rounds, found.ratio) == (MOST, pytest.approx(1.1))
    assert found.spread == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("ratio", "spread", "rounds", "verdict"),
    [
        (1.10, 0.05, LEAST, "faster"),
        (1.10, 0.05, LEAST - 1, "too_few_rounds"),
        (1.05, 0.05, LEAST, "no_difference"),
        (1.009, 0.0, LEAST, "no_difference"),
        (0.995, 0.0, LEAST, "no_difference"),
        (0.95, 0.06, LEAST, "no_difference"),
        (0.90, 0.05, SOME, "slower"),
        (0.90, 0.05, SOME - 1, "too_few_rounds"),
        (0.90, 0.15, SOME, "too_few_rounds"),
        (0.40, 0.0, 1, "hopeless"),
        (0.40, 0.0, LEAST, "slower"),
        (0.40, 0.2, 2, "too_few_rounds"),
        (3.00, 0.0, 1, "too_few_rounds"),
    ],
)
def test_a_difference_counts_if_it_is_larger_than_the_spread(ratio, spread, rounds, verdict):
    assert Comparison(ratio, spread, rounds).verdict == verdict
