"""The protocol of workers: what they answer, what they refuse, and that their engines compute the same."""

import json
import sys
import time
from functools import partial
from pathlib import Path

import engines
import numpy as np
import pytest
from contest import Contest, ContestantError, Worker, alternate, clean_environment, turns
from contestants import Contestant
from workloads import Workload

WORKLOAD = Workload(
    "some", ("the red boat", "snow on the hill at night", "a dog", "we see the city far away"), (5, 8, 4, 8)
)


@pytest.fixture(scope="module")
def contest(tiny_model, contestants, tmp_path_factory):
    """Both contestants, loaded once, with their texts."""
    with Contest(tmp_path_factory.mktemp("contest")) as contest:
        contest.enter(contestants, tiny_model)
        contest.give(WORKLOAD)
        yield contest


@pytest.mark.slow
def test_both_engines_compute_the_same(contest):
    vectors = contest.vectors(WORKLOAD, 3)
    assert vectors["millpond"].shape == (3, 32)
    np.testing.assert_allclose(vectors["millpond"], vectors["st-torch"], atol=2e-5)


@pytest.mark.slow
def test_they_say_what_they_are(contest):
    for worker in contest.workers.values():
        assert worker.about["precision"] == "float32"
        assert worker.about["seconds"] > 0
        assert worker.about["memory"]["peak"] >= worker.about["memory"]["now"] > 50
    assert "millpond" in contest.workers["millpond"].about["versions"]


@pytest.mark.slow
def test_a_run_is_measured_by_who_runs(contest):
    runs = alternate(contest.workers, 2, "run", "a test", workload=WORKLOAD.name)
    assert [len(of) for of in runs.values()] == [2, 2]
    for run in (run for of in runs.values() for run in of):
        assert run["wall"] > 0
        assert run["cpu"] > 0
        assert run["memory"]["peak"] > 50


@pytest.mark.slow
def test_arguments_may_depend_on_the_round_and_something_may_come_before_it(contest):
    seen = []
    alternate(
        {"millpond": contest.workers["millpond"]},
        2,
        "run",
        "a test",
        before=lambda: seen.append("before"),
        workload=lambda number: seen.append(number) or WORKLOAD.name,
    )
    assert seen == ["before", 0, "before", 1]


@pytest.mark.slow
def test_single_texts_are_timed_one_by_one_and_begin_anew(contest):
    for worker in contest.workers.values():
        done = worker.ask("one_by_one", workload=WORKLOAD.name, start=3, count=6)
        assert len(done["seconds"]) == 6
        assert sum(done["seconds"]) <= done["wall"]


@pytest.mark.slow
def test_stages_add_up_to_the_call_and_leave_no_probe(contest):
    worker = contest.workers["millpond"]
    for _ in range(2):
        stages = worker.ask("stages", workload=WORKLOAD.name, count=4)["stages"]
        assert len(stages) == 4
        for text in stages:
            assert set(text) == {"prompt", "tokenise", "engine", "forward", "pool", "output"}
            assert min(text.values()) > 0
            assert sum(text.values()) < 1


@pytest.mark.slow
def test_tokenising_and_ids_take_the_same_way(contest):
    worker = contest.workers["millpond"]
    assert worker.ask("tokenise", workload=WORKLOAD.name)["wall"] > 0
    assert worker.ask("run_ids", workload=WORKLOAD.name)["wall"] > 0


@pytest.mark.slow
def test_forward_passes_are_timed(contest):
    for worker in contest.workers.values():
        run = worker.ask("device_run", workload=WORKLOAD.name)
        assert 0 < run["device"] < 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("action", "arguments", "said"),
    [
        ("no_such_action", {}, "there is no action 'no_such_action'"),
        ("__init__", {}, "there is no action"),
        ("run", {"workload": "no such workload"}, "KeyError: 'no such workload'"),
        ("peak", {"precision": "float32", "seconds": 0.1, "size": 8}, "Millpond has no 'peak'"),
    ],
)
def test_an_error_is_an_answer_and_the_worker_goes_on(contest, action, arguments, said):
    worker = contest.workers["millpond"]
    with pytest.raises(ContestantError, match=said):
        worker.ask(action, **arguments)
    assert worker.ask("memory")["now"] > 0


@pytest.mark.slow
def test_matrices_give_a_rate(tmp_path):
    with Contest(tmp_path) as contest:
        worker = contest.matrices()
        assert worker.ask("peak", precision="float32", seconds=0.01, size=64)["rate"] > 0
        assert worker.ask("peak", precision="int8", seconds=0.01, size=64)["rate"] > 0


def test_matrices_whose_product_would_take_too_long_are_not_multiplied(monkeypatch):
    multiplied, matrices = [], engines.Matrices()

    def product(precision, size):
        return partial(multiplied.append, size)

    monkeypatch.setattr(matrices, "_product", product)
    clock = iter(range(100))
    monkeypatch.setattr(engines.time, "perf_counter", lambda: next(clock))  # a second for each product
    assert matrices.peak("int8", seconds=2.0, size=2048) > 0
    assert set(multiplied) == {engines.TRIAL_SIZE}


def test_who_is_refused_what_he_asks_for_is_left_out(tmp_path, tiny_model):
    odd = Contestant(name="odd", label="Odd", engine="millpond", options={"no_such_argument": 1})
    with Contest(tmp_path) as contest:
        contest.enter([odd], tiny_model)
        assert contest.workers == {}
        assert "no_such_argument" in contest.left_out["odd"]
        assert contest.describe()["left_out"] == contest.left_out


def test_a_peer_that_does_not_load_ends_the_run(tmp_path, tiny_model):
    odd = Contestant(name="odd", label="Odd", engine="no-such-engine")
    with Contest(tmp_path) as contest, pytest.raises(ContestantError, match="no-such-engine"):
        contest.enter([odd], tiny_model)


def test_a_worker_that_dies_says_its_last_words(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho out of luck >&2\nexit 3\n", encoding="utf-8")
    python.chmod(0o755)
    worker = Worker("unlucky", python, tmp_path)
    with pytest.raises(ContestantError, match=r"unlucky: ended with 3 at 'load':\nout of luck"):
        worker.ask("load", engine="millpond")
    worker.close()


def test_what_libraries_print_does_not_mix_with_answers(tmp_path, monkeypatch):
    # The worker is run with a module of engines that prints: Python looks beside the script, then in PYTHONPATH.
    script = tmp_path / "worker.py"
    script.write_text((Path(sys.modules["contest"].__file__).parent / "worker.py").read_text(encoding="utf-8"))
    (tmp_path / "engines.py").write_text(
        "class Engine: ...\n"
        "def load_engine(engine, **options):\n"
        "    print('loading', engine)\n"
        "    made = Engine()\n"
        "    made.describe = dict\n"
        "    return made\n",
        encoding="utf-8",
    )
    monkeypatch.setattr("contest.HERE", tmp_path)
    worker = Worker("chatty", Path(sys.executable), tmp_path)
    assert worker.ask("load", engine="millpond")["seconds"] >= 0
    worker.close()
    assert (tmp_path / "chatty.log").read_text(encoding="utf-8") == "loading millpond\n"


@pytest.mark.slow
def test_a_sleeping_worker_burns_nothing(contest):
    worker = contest.workers["millpond"]
    worker.ask("run", workload=WORKLOAD.name)
    time.sleep(0.5)
    assert worker.ask("run", workload=WORKLOAD.name)["idle_cpu"] < 0.3


def test_everybody_is_at_every_place_equally_often():
    orders = list(turns(["a", "b", "c"], 6))
    assert orders[:4] == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]]
    for place in range(3):
        assert sorted(order[place] for order in orders) == ["a", "a", "b", "b", "c", "c"]


def test_workers_have_a_home_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere/else")
    made = clean_environment(tmp_path)
    assert made["HOME"] == str(tmp_path)
    assert made["HF_HUB_OFFLINE"] == "1"
    assert "PYTHONPATH" not in made
    assert "XDG_CACHE_HOME" not in made
    assert json.dumps(made)
