"""The search of ``millpond tune``, on a machine whose speeds are made up: what is tried, and what is chosen."""

import pytest

from millpond_cli import tuning
from millpond_cli.contest import MOST
from millpond_cli.lab import DEFAULT_BUDGET, Attempt, choose


def test_where_nothing_is_faster_the_defaults_stay(search, kit):
    found = search(lambda kernels, budget, workers: 1.0)
    assert (str(found.settings), found.gain) == ("the defaults", None)
    for setting, default in (("max_num_batched_tokens", DEFAULT_BUDGET), ("num_workers", 4), ("attention", None)):
        verdicts = kit.rows(found, setting)
        assert sorted(verdicts.values()) == ["default", *["no_difference"] * (len(verdicts) - 1)]
        assert default is None or verdicts[default] == "default"
    assert "all" not in {it.setting for it in found.attempts}


def test_what_is_faster_is_chosen_on_top_of_what_was_chosen_before(search, kit):
    asked = []

    def speed(kernels, budget, workers):
        asked.append((kernels, budget, workers))
        return 1.2 ** ((kernels == {"attention": "reference"}) + (budget == 512) + (workers == 3))

    found = search(speed, kernels=None)
    assert found.settings.kernels == {"attention": "reference"}
    assert (found.settings.max_num_batched_tokens, found.settings.num_workers) == (512, 3)
    assert found.gain == pytest.approx(1.2**3)
    assert found.tokens_per_second == pytest.approx(1.2**3 * kit.per_second * 4)
    assert kit.rows(found, "attention")["reference"] == "chosen"
    assert [it.verdict for it in found.attempts if it.setting == "all"] == ["default", "chosen"]
    others = {kernels.get("attention") for kernels, budget, _ in asked if budget not in (512, DEFAULT_BUDGET)}
    assert others == {"reference"}
    assert {budget for _, budget, workers in asked if workers not in (3, 4)} == {512}


def test_all_budgets_and_all_numbers_of_workers_are_tried_smallest_first(search, kit):
    found = search(lambda kernels, budget, workers: 1.0)
    assert list(kit.rows(found, "max_num_batched_tokens")) == [256, 512, 1024, 2048, 4096, 8192]
    assert list(kit.rows(found, "num_workers")) == [1, 2, 3, 4]


def test_budgets_and_workers_that_take_too_long_are_not_tried_and_that_is_told(search, kit):
    found = search(lambda kernels, budget, workers: 1.0, seconds=60)
    (largest,) = (it for it in found.attempts if it.value == 8192)
    assert (largest.verdict, largest.tokens_per_second) == ("not_tried", None)
    (seconds,) = (int(word) for word in largest.reason.split() if word.isdigit())
    assert seconds > 60
    enough = search(lambda kernels, budget, workers: 1.0, seconds=2 * seconds)
    assert kit.rows(enough, "max_num_batched_tokens")[8192] != "not_tried"


def test_what_takes_less_work_and_more_time_is_not_chosen(search):
    found = search(lambda kernels, budget, workers: (1.2, 0.5) if budget == 4096 else 1.0)
    assert str(found.settings) == "the defaults"
    (row,) = (it for it in found.attempts if it.value == 4096)
    assert (row.verdict, row.reason) == ("slower", "it takes less work, and more time")


def test_workers_are_compared_by_the_clock(search):
    found = search(lambda kernels, budget, workers: (0.5, 1.3) if workers == 2 else (1.0, 1.0))
    assert (found.settings.num_workers, found.gain) == (2, pytest.approx(1.3))


def test_what_is_not_faster_all_together_is_not_chosen(search, kit):
    """It was faster once; beside the defaults again it is not."""
    seen = []

    def fades(kernels, budget, workers):
        seen.append(budget)
        return 1.2 if budget == 512 and seen.count(512) <= MOST else 1.0

    found = search(fades)
    assert kit.rows(found, "max_num_batched_tokens")[512] == "chosen"
    assert [it.verdict for it in found.attempts if it.setting == "all"] == ["default", "no_difference"]
    assert (str(found.settings), found.gain) == ("the defaults", None)


def test_of_those_that_cannot_be_told_apart_the_first_is_taken():
    def row(ratio, spread=0.05, verdict="faster"):
        return Attempt(setting="x", value=1, verdict=verdict, ratio=ratio, spread=spread)

    assert choose([row(1.10), row(1.14)]) == 0
    assert choose([row(1.08), row(1.14)]) == 1
    assert choose([row(1.30, verdict="no_difference"), row(1.2), row(1.5, verdict="slower")]) == 1
    assert choose([row(1.30, verdict="too_few_rounds")]) is None


@pytest.mark.parametrize(
    ("cores", "counts"),
    [(2, [1]), (4, [3, 2, 1]), (8, [7, 6, 5, 4, 3, 2, 1]), (16, [12, 8, 4, 2, 1]), (96, [72, 48, 24, 12, 6, 3, 1])],
)
def test_on_many_cores_some_numbers_of_workers_are_tried(cores, counts):
    assert tuning.worker_counts(cores) == counts
