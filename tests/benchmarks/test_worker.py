"""The protocol of workers: replies, errors, and equal results of their engines."""

import json
import sys
import time
from functools import partial
from pathlib import Path

import engines
import numpy as np
import pytest
from contest import Contest, ContestantError, Worker, alternate, clean_environment, round_orders
from contestants import Contestant
from workloads import Workload

WORKLOAD = Workload(
    "some", ("the red boat", "snow on the hill at night", "a dog", "we see the city far away"), (5, 8, 4, 8)
)


@pytest.fixture(scope="module")
def contest(tiny_model, contestants, tmp_path_factory):
    """Both contestants with a loaded model and a workload."""
    with Contest(tmp_path_factory.mktemp("contest")) as contest:
        contest.load(contestants, tiny_model)
        contest.set_workload(WORKLOAD)
        yield contest


@pytest.mark.slow
def test_both_engines_compute_the_same(contest):
    vectors = contest.vectors(WORKLOAD, 3)
    assert vectors["millpond"].shape == (3, 32)
    np.testing.assert_allclose(vectors["millpond"], vectors["st-torch"], atol=2e-5)


@pytest.mark.slow
def test_workers_describe_their_model(contest):
    for worker in contest.workers.values():
        assert worker.about["precision"] == "float32"
        assert worker.about["seconds"] > 0
        assert worker.about["memory"]["peak"] >= worker.about["memory"]["now"] > 50
    assert "millpond" in contest.workers["millpond"].about["versions"]


@pytest.mark.slow
def test_workers_measure_their_runs(contest):
    runs = alternate(contest.workers, 2, "run", "a test", workload=WORKLOAD.name)
    assert [len(rounds) for rounds in runs.values()] == [2, 2]
    for run in (run for rounds in runs.values() for run in rounds):
        assert run["wall"] > 0
        assert run["cpu"] > 0
        assert run["memory"]["peak"] > 50


@pytest.mark.slow
def test_arguments_may_depend_on_the_round(contest):
    calls = []
    alternate(
        {"millpond": contest.workers["millpond"]},
        2,
        "run",
        "a test",
        before=lambda: calls.append("before"),
        workload=lambda number: calls.append(number) or WORKLOAD.name,
    )
    assert calls == ["before", 0, "before", 1]


@pytest.mark.slow
def test_single_texts_are_timed_in_a_cycle(contest):
    for worker in contest.workers.values():
        reply = worker.ask("one_by_one", workload=WORKLOAD.name, start=3, count=6)
        assert len(reply["seconds"]) == 6
        assert sum(reply["seconds"]) <= reply["wall"]


@pytest.mark.slow
def test_stages_can_be_measured_repeatedly(contest):
    worker = contest.workers["millpond"]
    for _ in range(2):
        stages = worker.ask("stages", workload=WORKLOAD.name, count=4)["stages"]
        assert len(stages) == 4
        for text in stages:
            assert set(text) == {"prompt", "tokenise", "engine", "forward", "pool", "output"}
            assert min(text.values()) > 0
            assert sum(text.values()) < 1


@pytest.mark.slow
def test_texts_are_tokenized_and_token_ids_embedded(contest):
    worker = contest.workers["millpond"]
    assert worker.ask("tokenise", workload=WORKLOAD.name)["wall"] > 0
    assert worker.ask("run_ids", workload=WORKLOAD.name)["wall"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("action", "arguments", "message"),
    [
        ("no_such_action", {}, "unknown action 'no_such_action'"),
        ("__init__", {}, "unknown action"),
        ("run", {"workload": "no such workload"}, "KeyError: 'no such workload'"),
        ("peak", {"precision": "float32", "seconds": 0.1, "size": 8}, "Millpond does not support 'peak'"),
    ],
)
def test_worker_continues_after_an_error(contest, action, arguments, message):
    worker = contest.workers["millpond"]
    with pytest.raises(ContestantError, match=message):
        worker.ask(action, **arguments)
    assert worker.ask("memory")["now"] > 0


@pytest.mark.slow
def test_peak_is_measured(tmp_path):
    with Contest(tmp_path) as contest:
        worker = contest.matrices()
        assert worker.ask("peak", precision="float32", seconds=0.01, size=64)["rate"] > 0
        assert worker.ask("peak", precision="int8", seconds=0.01, size=64)["rate"] > 0


def test_slow_products_are_replaced_by_smaller_ones(monkeypatch):
    multiplied, matrices = [], engines.Matrices()

    def product(precision, size):
        return partial(multiplied.append, size)

    monkeypatch.setattr(matrices, "_product", product)
    clock = iter(range(100))
    monkeypatch.setattr(engines.time, "perf_counter", lambda: next(clock))  # a second for each product
    assert matrices.peak("int8", seconds=2.0, size=2048) > 0
    assert set(multiplied) == {engines.TRIAL_SIZE}


@pytest.mark.slow
def test_configuration_that_fails_to_load_is_left_out(tmp_path, tiny_model):
    odd = Contestant(name="odd", label="Odd", engine="millpond", options={"no_such_argument": 1})
    with Contest(tmp_path) as contest:
        contest.load([odd], tiny_model)
        assert contest.workers == {}
        assert "no_such_argument" in contest.left_out["odd"]
        assert contest.describe()["left_out"] == contest.left_out


def test_peer_that_fails_to_load_ends_the_run(tmp_path, tiny_model):
    odd = Contestant(name="odd", label="Odd", engine="no-such-engine")
    with Contest(tmp_path) as contest, pytest.raises(ContestantError, match="no-such-engine"):
        contest.load([odd], tiny_model)


def test_error_of_a_crashed_worker_contains_its_log(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho out of luck >&2\nexit 3\n", encoding="utf-8")
    python.chmod(0o755)
    worker = Worker("unlucky", python, tmp_path)
    with pytest.raises(ContestantError, match=r"unlucky: exited with 3 during 'load':\nout of luck"):
        worker.ask("load", engine="millpond")
    worker.close()


def test_prints_of_libraries_do_not_disturb_replies(tmp_path, monkeypatch):
    # Python imports engines.py from the folder of the script: this one prints.
    script = tmp_path / "worker.py"
    script.write_text((Path(sys.modules["contest"].__file__).parent / "worker.py").read_text(encoding="utf-8"))
    (tmp_path / "engines.py").write_text(
        "class Engine: ...\n"
        "def load_engine(engine, **options):\n"
        "    print('loading', engine)\n"
        "    loaded = Engine()\n"
        "    loaded.describe = dict\n"
        "    return loaded\n",
        encoding="utf-8",
    )
    monkeypatch.setattr("contest.HERE", tmp_path)
    worker = Worker("chatty", Path(sys.executable), tmp_path)
    assert worker.ask("load", engine="millpond")["seconds"] >= 0
    worker.close()
    assert (tmp_path / "chatty.log").read_text(encoding="utf-8") == "loading millpond\n"


@pytest.mark.slow
def test_sleeping_worker_uses_no_cpu_time(contest):
    worker = contest.workers["millpond"]
    worker.ask("run", workload=WORKLOAD.name)
    time.sleep(0.5)
    assert worker.ask("run", workload=WORKLOAD.name)["idle_cpu"] < 0.3


def test_every_contestant_is_at_every_position_equally_often():
    orders = list(round_orders(["a", "b", "c"], 6))
    assert orders[:4] == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]]
    for position in range(3):
        assert sorted(order[position] for order in orders) == ["a", "a", "b", "b", "c", "c"]


def test_workers_have_a_separate_home(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere/else")
    environment = clean_environment(tmp_path)
    assert environment["HOME"] == str(tmp_path)
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert "PYTHONPATH" not in environment
    assert "XDG_CACHE_HOME" not in environment
    assert json.dumps(environment)
