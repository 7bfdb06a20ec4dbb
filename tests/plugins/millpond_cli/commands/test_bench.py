"""``millpond bench``: every combination is measured beside the defaults; no test depends on what is faster here."""

import json

import pytest
from typer.testing import CliRunner

from millpond.engine.scheduler import CPU_TOKENS
from millpond.loading.arguments import read_arguments
from millpond.loading.build import resolve_model
from millpond.plugin.manager import get_plugin_manager
from millpond.testing import checkpoints
from millpond_cli.benchmark import measurements as measuring
from millpond_cli.benchmark.measurements import BATCH_SIZES, Benchmark, worker_counts
from millpond_cli.benchmark.workload import Sample
from millpond_command import cli
from millpond_command.progress import Progress


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(checkpoints.tiny("BertModel", tmp_path_factory.mktemp("tiny") / "model"))


@pytest.fixture
def few(monkeypatch):
    """Few combinations, on a machine of two cores."""
    monkeypatch.setattr(measuring, "BATCH_SIZES", (0.5, 1))
    monkeypatch.setattr(measuring, "available_cores", lambda: 2)


def bench(*arguments):
    done = CliRunner().invoke(cli.app, ["bench", *arguments])
    assert done.exit_code == 0, done.stderr
    return done.stdout


def measured(model, speeds, monkeypatch, **arguments):
    """Measurements on a simulated machine; ``speeds`` returns tokens/s for (kernels, batch tokens, workers)."""

    class SimulatedModel(measuring.BenchmarkModel):
        def run(self, workload, *, max_num_batched_tokens, num_workers=None):
            seconds = workload.num_tokens / speeds(
                self.loaded.context.compute.kernels, max_num_batched_tokens, num_workers
            )
            return Sample(workload.num_tokens, seconds, seconds)

    monkeypatch.setattr(measuring, "BenchmarkModel", SimulatedModel)
    arguments = read_arguments({"device": "cpu", **arguments})
    registry = get_plugin_manager().registry
    layers, device = resolve_model(registry, model, arguments)
    benchmark = Benchmark(registry, layers, arguments, device=device, seconds=0.1)
    return benchmark.run(lambda runs: Progress(shown=True, total=lambda: runs, unit="runs"))


@pytest.mark.slow
def test_a_table_has_every_combination(few, model):
    lines = bench(model, "--seconds", "0.1", "--quiet", "--device", "cpu").splitlines()
    assert lines[0].startswith(f"{model} on cpu: ")
    assert lines[2].split("  ")[0] == "KERNEL"
    rows = [line.split() for line in lines[3:] if line and not line.startswith("Fastest")]
    assert [row[1:3] for row in rows[:4]] == [["512", "1"], ["512", "2"], ["1024", "1"], ["1024", "2"]]
    assert {row[0] for row in rows[:4]} == {"default"}
    kernels = [row[0] for row in rows[4::4]]
    assert any(kernel.startswith("attention=") for kernel in kernels)
    assert len(kernels) == len(set(kernels))


def test_json_has_the_machine_and_the_results(few, model):
    record = json.loads(bench(model, "--seconds", "0.1", "--quiet", "--json", "--kernel", "attention=sdpa"))
    assert record["model"] == model
    assert {"processor", "cores", "device"} <= record.keys()
    assert not any(row["kernel"].startswith("attention=") for row in record["results"])
    assert all(row["tokens_per_second"] > 0 and row["rounds"] >= 1 for row in record["results"])


def test_ratios_are_to_the_defaults_measured_beside(few, model, monkeypatch, capsys):
    measurements = measured(model, lambda kernels, tokens, workers: tokens * workers, monkeypatch)
    progress = capsys.readouterr().err
    assert progress.startswith(f"{3 * len(measurements)} of {3 * len(measurements)} runs (100%), ")
    by_combination = {
        (it.combination.batch_tokens, it.combination.workers): it.ratio
        for it in measurements
        if it.combination.kernel == "default"
    }
    default = CPU_TOKENS * 2
    assert by_combination == pytest.approx({(t, w): t * w / default for t in (512, 1024) for w in (1, 2)})
    best = measuring.fastest(measurements)
    assert (best.combination.batch_tokens, best.combination.workers) == (1024, 2)


def test_a_hopeless_kernel_is_measured_for_one_round(few, model, monkeypatch):
    def speeds(kernels, _tokens, _workers):
        return 10.0 if "sdpa" in kernels.get("attention", "") else 1000.0

    measurements = measured(model, speeds, monkeypatch)
    rounds = {it.combination.kernel.endswith("attention=sdpa"): len(it.samples) for it in measurements}
    assert rounds == {True: 1, False: measuring.ROUNDS}


@pytest.mark.parametrize(
    ("cores", "counts"), [(1, [1]), (2, [1, 2]), (4, [1, 2, 3, 4]), (8, [1, 4, 8]), (96, [1, 48, 96])]
)
def test_workers_are_tried_one_by_one_on_few_cores(cores, counts):
    assert worker_counts(cores) == counts


def test_the_default_is_among_the_batch_sizes():
    assert 1 in BATCH_SIZES
