"""What the tests of ``millpond tune`` share: a tiny model, the folder of profiles, and a machine with made-up speeds.

No test depends on what is faster here: where that matters, the speeds are made up.
"""

import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from millpond import cli
from millpond.loading.arguments import read_arguments
from millpond.loading.build import resolve_model
from millpond.plugins import PluginManager
from millpond.testing import checkpoints
from millpond_cli import lab as laboratory
from millpond_cli import tuning
from millpond_cli.contest import Sample
from millpond_cli.lab import DEFAULT_BUDGET, Lab

PER_SECOND = 1000  # tokens, of the made-up machine with its defaults
LONG = 1e4  # seconds, on that machine: no time passes


def tune(*arguments):
    """Run the command in this process."""
    return CliRunner().invoke(cli.app, ["tune", *map(str, arguments)])


def told(done):
    """The object that ``--json`` prints."""
    assert (done.exit_code, done.stderr) == (0, "")
    return json.loads(done.stdout)


def rows(found, setting):
    """The verdict of each value of a setting that was tried."""
    return {it.value: it.verdict for it in found.attempts if it.setting == setting}


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """What stands above, for test modules cannot import it."""
    return SimpleNamespace(per_second=PER_SECOND, tune=tune, told=told, rows=rows)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a tiny BERT that no test changes."""
    return str(checkpoints.tiny("BertModel", tmp_path_factory.mktemp("tiny") / "model"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of profiles, which is not there yet."""
    path = tmp_path / "profiles"
    monkeypatch.setenv("MILLPOND_PROFILES", str(path))
    return path


class Shown:
    """Who is told how far the search is."""

    def __init__(self):
        self.phases, self.seconds = [], 0.0

    def phase(self, name):
        self.phases.append(name)

    def advance(self, seconds):
        self.seconds += seconds


@pytest.fixture
def search(model, monkeypatch):
    """Search on a machine of four cores; ``speed`` says how many times as fast as by default settings are.

    It is given kernels, budget and workers, and gives one number, or two: by the processor, and by the clock.
    """

    def search(speed, *, seconds=LONG, manager=None, **arguments):
        def run(self, bench, workload, settings):
            budget = settings.max_num_batched_tokens or DEFAULT_BUDGET
            workers = settings.num_workers or self.cores
            found = speed(dict(bench.loaded.context.kernels), budget, workers)
            cpu, wall = found if isinstance(found, tuple) else (found, found)
            tokens = workload.num_tokens
            sample = Sample(tokens, cpu=tokens / (cpu * PER_SECOND), wall=tokens / (wall * PER_SECOND * self.cores))
            self.spent += sample.wall
            return sample

        monkeypatch.setattr(Lab, "run", run)
        monkeypatch.setattr(laboratory, "available_cores", lambda: 4)
        monkeypatch.setattr("millpond_cli.contest.time.monotonic", lambda: 0.0)
        registry = (manager or PluginManager(ranks=("builtin",), disabled=())).registry
        read = read_arguments({"device": "cpu", "profile": False, **arguments})
        resolution, device = resolve_model(registry, model, read)
        with Lab(registry, resolution, read, device=device, seconds=seconds, show=Shown()) as lab:
            found = tuning.tune(lab)
            assert lab._benches == [lab.bench] or found.gain is not None or found.settings.kernels == lab.given  # noqa: SLF001
        return found

    return search
