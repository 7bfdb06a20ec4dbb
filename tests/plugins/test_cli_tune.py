"""``millpond tune``: what is tried, what is chosen, where it is stored, and that models are loaded with it.

No test depends on what is faster here: where that matters, the speeds are made up.
"""

import fcntl
import json
import logging
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from millpond import LLM, EngineError, cli
from millpond.loading.arguments import read_arguments
from millpond.loading.build import load_model, resolve_model
from millpond.loading.profile import (
    ComputeMode,
    Machine,
    Measured,
    Profile,
    ProfileKey,
    ProfileSettings,
    read_profile,
    shape_of,
)
from millpond.nn.ops import Setting, judge_kernels
from millpond.plugins import PluginManager
from millpond.registry import Origin, Registry
from millpond.specs import KernelSpec
from millpond.testing import checkpoints
from millpond_cli import lab as laboratory
from millpond_cli import tuning
from millpond_cli.bench import Bench, draw
from millpond_cli.contest import MOST, Sample
from millpond_cli.lab import DEFAULT_BUDGET, Attempt, Lab, choose
from millpond_cli.tune_report import lines_of

PER_SECOND = 1000  # tokens, of the made-up machine with its defaults
LONG = 1e4  # seconds, on that machine: no time passes


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(checkpoints.tiny("BertModel", tmp_path_factory.mktemp("tiny") / "model"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of profiles, which is not there yet."""
    path = tmp_path / "profiles"
    monkeypatch.setenv("MILLPOND_PROFILES", str(path))
    return path


def tune(*arguments):
    return CliRunner().invoke(cli.app, ["tune", *map(str, arguments)])


def told(done):
    """The object that ``--json`` prints."""
    assert (done.exit_code, done.stderr) == (0, "")
    return json.loads(done.stdout)


# --- the workload -----------------------------------------------------------------------------------------------------


@given(
    num_tokens=st.integers(1, 3000),
    vocab_size=st.integers(1, 10**6),
    longest=st.integers(1, 600),
    seed=st.integers(0, 99),
)
def test_a_workload_has_the_tokens_that_were_asked_for(num_tokens, vocab_size, longest, seed):
    workload = draw(num_tokens, vocab_size=vocab_size, longest=longest, seed=seed)
    assert workload.num_tokens == sum(map(len, workload.prompts)) == num_tokens
    assert all(1 <= len(prompt) <= min(longest, 256) for prompt in workload.prompts)
    assert all(0 <= token < vocab_size for prompt in workload.prompts for token in prompt)
    assert draw(num_tokens, vocab_size=vocab_size, longest=longest, seed=seed).prompts == workload.prompts


def test_lengths_are_mixed_as_those_of_texts_are():
    lengths = [len(prompt) for prompt in draw(200_000, vocab_size=10, longest=512).prompts]
    assert np.median(lengths) == pytest.approx(45, rel=0.1)
    assert np.mean(lengths) == pytest.approx(58, rel=0.1)
    assert (min(lengths), max(lengths)) == (5, 256)


@pytest.fixture
def bench(model):
    bench = Bench(load_model(model, read_arguments({"device": "cpu", "profile": False})))
    yield bench
    bench.close()


def test_a_run_serves_the_workload_by_the_settings(bench, model, monkeypatch):
    workload = bench.draw(500)
    sizes = []
    runner = bench._runner(2)  # noqa: SLF001
    compute = runner.run
    monkeypatch.setattr(
        runner, "run", lambda batch: (sizes.append(sum(it.num_tokens for it in batch)), compute(batch))[1]
    )
    sample = bench.run(workload, max_num_batched_tokens=100, num_workers=2)
    assert sample.tokens == sum(sizes) == 500
    assert max(sizes) <= 100
    assert sample.wall > 0
    assert runner.num_workers == 2
    with LLM(model, device="cpu") as llm:
        longest_first = sorted(workload.prompts, key=lambda prompt: -len(prompt))
        expected = [output.outputs.array for output in llm.embed([*map(list, longest_first)])]
    for found, wanted in zip(bench.vectors(workload), expected, strict=True):
        assert np.abs(found - wanted).max() < 1e-5


def test_a_vocabulary_that_nothing_states_is_asked_for(tmp_path):
    folder = checkpoints.tiny("BertModel", tmp_path / "mute", tokenizer=False)
    loaded = load_model(str(folder), read_arguments({"device": "cpu", "profile": False}))
    loaded.config.hf_config._values.pop("vocab_size")  # noqa: SLF001
    bench = Bench(loaded)
    with pytest.raises(cli.CommandError, match="how large the vocabulary is") as caught:
        bench.draw(100)
    assert "--hf-overrides" in caught.value.hint
    bench.close()


@pytest.mark.parametrize(
    ("error", "expected", "reason"),
    [
        (torch.OutOfMemoryError("no memory"), cli.CommandError, "batches of 2048 tokens do not fit into memory"),
        (ValueError("no idea"), EngineError, "ValueError: no idea"),
    ],
    ids=["memory", "anything"],
)
def test_a_run_that_fails_is_no_run(bench, monkeypatch, error, expected, reason):
    """A batch that is too large for memory is halved by the engine: it would be measured as another budget."""
    forward = bench.loaded.model.forward

    def fails(batch):
        if isinstance(error, ValueError) or batch.num_tokens > 600:
            raise error
        return forward(batch)

    monkeypatch.setattr(bench.loaded.model, "forward", fails)
    with pytest.raises(expected, match=reason):
        bench.run(bench.draw(2000), max_num_batched_tokens=2048, num_workers=1)


# --- the search, on a machine whose speeds are made up ----------------------------------------------------------------


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


def rows(found, setting):
    return {it.value: it.verdict for it in found.attempts if it.setting == setting}


def test_where_nothing_is_faster_the_defaults_stay(search):
    found = search(lambda kernels, budget, workers: 1.0)
    assert (str(found.settings), found.gain) == ("the defaults", None)
    for setting, default in (("max_num_batched_tokens", DEFAULT_BUDGET), ("num_workers", 4), ("attention", None)):
        verdicts = rows(found, setting)
        assert sorted(verdicts.values()) == ["default", *["no_difference"] * (len(verdicts) - 1)]
        assert default is None or verdicts[default] == "default"
    assert "all" not in {it.setting for it in found.attempts}


def test_what_is_faster_is_chosen_on_top_of_what_was_chosen_before(search):
    asked = []

    def speed(kernels, budget, workers):
        asked.append((kernels, budget, workers))
        return 1.2 ** ((kernels == {"attention": "reference"}) + (budget == 512) + (workers == 3))

    found = search(speed, kernels=None)
    assert found.settings.kernels == {"attention": "reference"}
    assert (found.settings.max_num_batched_tokens, found.settings.num_workers) == (512, 3)
    assert found.gain == pytest.approx(1.2**3)
    assert found.tokens_per_second == pytest.approx(1.2**3 * PER_SECOND * 4)
    assert rows(found, "attention")["reference"] == "chosen"
    assert [it.verdict for it in found.attempts if it.setting == "all"] == ["default", "chosen"]
    others = {kernels.get("attention") for kernels, budget, _ in asked if budget not in (512, DEFAULT_BUDGET)}
    assert others == {"reference"}
    assert {budget for _, budget, workers in asked if workers not in (3, 4)} == {512}


def test_all_budgets_and_all_numbers_of_workers_are_tried_smallest_first(search):
    found = search(lambda kernels, budget, workers: 1.0)
    assert list(rows(found, "max_num_batched_tokens")) == [256, 512, 1024, 2048, 4096, 8192]
    assert list(rows(found, "num_workers")) == [1, 2, 3, 4]


def test_budgets_and_workers_that_take_too_long_are_not_tried_and_that_is_told(search):
    found = search(lambda kernels, budget, workers: 1.0, seconds=60)
    (largest,) = (it for it in found.attempts if it.value == 8192)
    assert (largest.verdict, largest.tokens_per_second) == ("not_tried", None)
    (seconds,) = (int(word) for word in largest.reason.split() if word.isdigit())
    assert seconds > 60
    enough = search(lambda kernels, budget, workers: 1.0, seconds=2 * seconds)
    assert rows(enough, "max_num_batched_tokens")[8192] != "not_tried"


def test_what_takes_less_work_and_more_time_is_not_chosen(search):
    found = search(lambda kernels, budget, workers: (1.2, 0.5) if budget == 4096 else 1.0)
    assert str(found.settings) == "the defaults"
    (row,) = (it for it in found.attempts if it.value == 4096)
    assert (row.verdict, row.reason) == ("slower", "it takes less work, and more time")


def test_workers_are_compared_by_the_clock(search):
    found = search(lambda kernels, budget, workers: (0.5, 1.3) if workers == 2 else (1.0, 1.0))
    assert (found.settings.num_workers, found.gain) == (2, pytest.approx(1.3))


def test_what_is_not_faster_all_together_is_not_chosen(search):
    """It was faster once; beside the defaults again it is not."""
    seen = []

    def fades(kernels, budget, workers):
        seen.append(budget)
        return 1.2 if budget == 512 and seen.count(512) <= MOST else 1.0

    found = search(fades)
    assert rows(found, "max_num_batched_tokens")[512] == "chosen"
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


# --- which kernels are tried ------------------------------------------------------------------------------------------


def with_kernel(name, target, **settings):
    """All that is installed, and one kernel more."""
    manager = PluginManager()
    manager.register(KernelSpec(name=name, target=target, priority=-50, **settings))
    return manager


def test_the_kernels_that_fit_are_tried_and_those_of_ops_that_nobody_asks_for_are_not(search):
    found = search(lambda kernels, budget, workers: 1.0)
    assert set(rows(found, "attention")) >= {"sdpa", "reference"}
    assert set(rows(found, "linear")) >= {"torch", "tiles"}
    assert rows(found, "maxsim") == {}


def test_a_kernel_of_another_quantization_is_never_tried(search):
    plain = search(lambda kernels, budget, workers: 1.0)
    quantized = search(lambda kernels, budget, workers: 1.0, quantization="int8")
    for found, is_right in ((plain, lambda name: "int8" not in name), (quantized, lambda name: "int8" in name)):
        assert all(map(is_right, rows(found, "linear")))


def test_a_kernel_that_the_caller_names_is_taken_and_no_other_of_its_op_is_tried(search):
    found = search(lambda kernels, budget, workers: 1.2 if budget == 512 else 1.0, kernels={"attention": "reference"})
    assert rows(found, "attention") == {}
    assert found.settings.kernels == {"attention": "reference"}
    assert found.settings.max_num_batched_tokens == 512
    without = search(lambda kernels, budget, workers: 1.0, kernels={"attention": "reference"})
    assert (without.settings.kernels, without.gain) == ({"attention": "reference"}, None)


def test_a_kernel_that_promises_no_independence_is_not_tried_where_that_is_asked_for(search):
    found = search(lambda kernels, budget, workers: 1.0, deterministic=True)
    assert "torch" not in rows(found, "linear")


def test_a_hopeless_kernel_is_not_measured(search):
    found = search(lambda kernels, budget, workers: 0.3 if kernels.get("attention") == "reference" else 1.0)
    (row,) = (it for it in found.attempts if it.value == "reference")
    assert (row.verdict, row.rounds, row.ratio) == ("hopeless", 1, pytest.approx(0.3))


def wrong(x, bias):
    return torch.zeros_like(x)


def spoilt(x, bias):
    return x * torch.nan


def broken(x, bias):
    message = "no such instruction"
    raise RuntimeError(message)


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (wrong, "it gives other vectors: their cosine with those of the default is down to"),
        (spoilt, "NonFiniteOutputError"),
        (broken, "no such instruction"),
        ("nowhere:at_all", "does not load"),
    ],
    ids=["wrong", "spoilt", "broken", "missing"],
)
def test_a_kernel_that_does_not_do_what_the_default_does_is_refused(search, kernel, reason):
    manager = with_kernel("gelu.mine", kernel)
    found = search(lambda kernels, budget, workers: 9.0 if kernels.get("gelu") == "mine" else 1.0, manager=manager)
    (row,) = (it for it in found.attempts if it.value == "mine")
    assert row.verdict == "refused"
    assert reason in row.reason
    assert "mine" not in str(found.settings)


def same(x, bias):
    return torch.nn.functional.gelu(x if bias is None else x + bias)


def test_a_plugin_s_kernel_is_chosen_when_it_is_faster(search):
    manager = with_kernel("gelu.mine", same)
    found = search(lambda kernels, budget, workers: 2.0 if kernels.get("gelu") == "mine" else 1.0, manager=manager)
    assert found.settings.kernels == {"gelu": "mine"}


def test_a_variant_that_two_plugins_bring_is_named_whole():
    registry = Registry()
    for plugin in ("mine", "yours"):
        origin = Origin(plugin=plugin, rank="installed")
        registry.register(KernelSpec(name="gelu.quick", target=same), origin)
    registry.register(KernelSpec(name="gelu.steady", target=same, priority=-1), origin)
    verdicts = judge_kernels(registry, "gelu", Setting(device=torch.device("cpu"), dtype=torch.float32))
    assert tuning.spellings(verdicts) == ["mine/gelu.quick", "yours/gelu.quick", "steady"]


def test_what_was_found_is_told_in_a_line():
    key = ProfileKey(
        model=shape_of("X", {}),
        mode=ComputeMode(device="cpu", dtype="float32", quantization=None, deterministic=False),
        machine=Machine(processor="A", cores=1),
    )

    def line(gain, *attempts, **settings):
        measured = Measured(date="", millpond="", torch="", seconds=1.0, gain=gain, tokens_per_second=1.0)
        profile = Profile(key=key, settings=ProfileSettings(**settings), measured=measured)
        found = tuning.Tuning(
            attempts=attempts, settings=profile.settings, gain=gain, tokens_per_second=1.0, seconds=1.0
        )
        return next(it for it in lines_of(profile, found, None) if it.startswith("Chosen: "))

    tried = Attempt(setting="gelu", value="torch", verdict="slower", ratio=0.9, spread=0.1, rounds=5)
    together = Attempt(setting="all", value="what was chosen", verdict="no_difference", ratio=1.0, spread=0.1, rounds=5)
    assert line(None, tried).endswith("the defaults; nothing else was faster by more than the rounds differ.")
    assert line(None, tried, together).endswith("the defaults; what was faster by itself is not, all together.")
    assert line(1.234, tried, together, num_workers=3).endswith("num_workers=3; 1.23 times as fast as the defaults.")


# --- the command ------------------------------------------------------------------------------------------------------


def test_from_measuring_to_a_model_that_is_loaded_with_it(model, folder, caplog):
    found = told(tune(model, "--seconds", 1, "--json"))
    path = Path(found["stored"])
    assert list(folder.iterdir()) == [path]
    profile = read_profile(path)
    assert profile.model_dump() == found["profile"]
    assert (profile.key.model.architecture, profile.key.mode.dtype) == ("BertModel", "float32")
    assert profile.measured.tokens_per_second > 0
    assert {it["setting"] for it in found["tried"]} >= {"attention", "linear", "max_num_batched_tokens"}
    for it in found["tried"]:
        assert (it["verdict"] in ("refused", "not_tried")) == bool(it["reason"]) or it["verdict"] == "slower"
        assert it["ratio"] is None or it["tokens_per_cpu_second"] > 0
    with caplog.at_level(logging.INFO, logger="millpond"), LLM(model) as llm:
        assert f"{model}: the profile {path} is in use: {profile.settings}" in caplog.messages
        for name, value in profile.settings.engine.items():
            assert getattr(llm.engine_config, name) == value
    shown = CliRunner().invoke(cli.app, ["inspect", model, "--json"])
    (one,) = json.loads(shown.stdout)["profiles"]
    assert one == {"file": str(path), "mode": "float32 on cpu", "settings": str(profile.settings)}
    assert f"profiles      float32 on cpu: {profile.settings}, from {path}\n" in CliRunner().invoke(
        cli.app, ["inspect", model]
    ).stdout  # fmt: skip


def test_a_person_reads_a_table(model, folder):
    done = tune(model, "--seconds", 0.5)
    assert (done.exit_code, done.stderr) == (0, "")
    heading, *lines = done.stdout.splitlines()
    assert heading.split("  ")[0] == "SETTING"
    assert any(line.startswith("linear ") and "the default" in line for line in lines)
    assert lines[-2].startswith("Chosen: ")
    assert lines[-1] == f"Stored: {next(folder.iterdir())}"


def test_a_dry_run_stores_nothing(model, folder):
    assert told(tune(model, "--seconds", 0.2, "--dry-run", "--json"))["stored"] is None
    assert tune(model, "--seconds", 0.2, "--dry-run").stdout.splitlines()[-1] == "Stored: nothing."
    assert not folder.exists()


def test_a_profile_may_be_stored_in_a_file(model, folder, tmp_path):
    path = tmp_path / "deeper" / "mine.json"
    found = told(tune(model, "--seconds", 0.2, "--output", path, "--kernel", "attention=reference", "--json"))
    assert found["stored"] == str(path)
    assert not folder.exists()
    assert read_profile(path).settings.kernels["attention"] == "reference"
    with LLM(model, profile=path) as llm:
        kernel = llm._loaded.model.layers[0].attention.attention.kernel  # noqa: SLF001
        assert kernel.__module__ == "millpond_kernels.attention_reference"


def test_each_mode_has_a_profile_of_its_own_and_a_new_one_takes_the_place_of_the_old(model, folder):
    names = set()
    for options in ([], ["--quantization", "int8"], ["--deterministic"], []):
        names.add(Path(told(tune(model, "--seconds", 0.1, *options, "--json"))["stored"]).name)
    assert names == {path.name for path in folder.iterdir()}
    assert len(names) == 3
    listed = tune("--list").stdout
    assert listed.startswith(f"3 profiles in {folder}\n\nMODEL")
    assert listed.count("BertModel, 32 x 2") == listed.count("this machine") == 3
    for mode in ("float32 on cpu  ", "float32 on cpu, int8", "float32 on cpu, deterministic"):
        assert mode in listed


def test_profiles_are_listed_and_forgotten(model, folder):
    assert tune("--list").stdout == f"No profiles in {folder}\n"
    assert told(tune("--list", "--json")) == []
    found = told(tune(model, "--seconds", 0.1, "--json"))
    (folder / "broken.json").write_text("{", encoding="utf-8")
    first, second = told(tune("--list", "--json"))
    assert first == {"file": found["stored"], "profile": found["profile"], "problem": None}
    assert (second["file"], second["profile"]) == (str(folder / "broken.json"), None)
    assert "is not valid JSON" in second["problem"]
    assert f"the profile {folder / 'broken.json'} is not valid JSON" in tune("--list").stdout
    assert tune(model, "--forget", "--quantization", "int8").stdout.startswith("There was none: ")
    assert tune(model, "--forget").stdout == f"Removed: {found['stored']}\n"
    assert tune(model, "--forget").stdout == f"There was none: {found['stored']}\n"
    assert [path.name for path in folder.iterdir()] == ["broken.json"]


def test_a_profile_of_another_machine_is_listed_as_such(model, folder, monkeypatch):
    tune(model, "--seconds", 0.1)
    monkeypatch.setattr("millpond_cli.profile_files.processor_name", lambda: "Another CPU")
    assert "this machine" not in tune("--list").stdout
    monkeypatch.setattr("millpond_cli.report.processor_name", lambda: "Another CPU")
    assert json.loads(CliRunner().invoke(cli.app, ["inspect", model, "--json"]).stdout)["profiles"] == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--quiet"], "there is no MODEL to tune"),
        (["{model}", "--list"], "--list shows all profiles"),
        (["--list", "--forget"], "--list shows all profiles"),
        (["{model}", "--dry-run", "--output", "x.json"], "--dry-run stores none"),
        (["{model}", "--forget", "--output", "x.json"], "--forget stores none"),
        (["{model}", "--seconds", "0"], "0.1"),
        (["{model}", "--kernel", "attention"], "is not spelled OP=VARIANT"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("folder")
def test_what_makes_no_sense_is_refused_before_anything_is_measured(model, arguments, reason, monkeypatch):
    monkeypatch.setattr(tuning, "tune", lambda lab: pytest.fail("it was measured"))
    done = tune(*(argument.format(model=model) for argument in arguments))
    assert (done.exit_code, done.stdout) == (2, "")
    assert reason in done.stderr


def test_without_a_folder_there_is_nowhere_to_store(model, tmp_path, monkeypatch):
    monkeypatch.setenv("MILLPOND_PROFILES", "0")
    for arguments in ([model], [model, "--forget"], ["--list"]):
        done = tune(*arguments)
        assert (done.exit_code, done.stdout) == (2, "")
        assert "MILLPOND_PROFILES=0 says so" in done.stderr
        assert "--output FILE" in done.stderr
    assert told(tune(model, "--seconds", 0.1, "--output", tmp_path / "it.json", "--json"))["stored"]
    assert told(tune(model, "--seconds", 0.1, "--dry-run", "--json"))["stored"] is None


def test_where_nothing_can_be_written_is_told_before_anything_is_measured(model, tmp_path, monkeypatch):
    monkeypatch.setattr("millpond_cli.profiling.tune", lambda lab: pytest.fail("it was measured"))
    (tmp_path / "file").write_text("", encoding="utf-8")
    for path in (tmp_path / "file" / "in_it.json", tmp_path):
        done = tune(model, "--output", path)
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.startswith(f"error: cannot write {path}: ")


def test_a_model_that_does_not_load_is_told_and_nothing_is_stored(tmp_path, folder):
    done = tune(tmp_path / "absent", "--seconds", 0.1)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "no source has the model" in done.stderr
    assert not folder.exists()


# --- while it works ---------------------------------------------------------------------------------------------------


def on_a_terminal(*arguments):
    """What the command writes to stderr, where that is a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [sys.executable, "-m", "millpond", "tune", *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    written = b""
    try:
        while piece := os.read(ours, 65536):
            written += piece
    except OSError:  # Linux says so when the other side is closed
        pass
    finally:
        os.close(ours)
    assert process.wait() == 0
    return written.decode()


@pytest.mark.usefixtures("folder")
def test_a_terminal_shows_a_bar_unless_it_is_to_be_quiet(model):
    shown = on_a_terminal(model, "--seconds", 1, "--dry-run")
    for phase in ("loading", "warming up", "attention"):
        assert f"/1 s  {phase}" in shown
    assert on_a_terminal(model, "--seconds", 0.1, "--dry-run", "--quiet") == ""


def test_an_interrupt_ends_it_quietly_and_leaves_nothing(model, folder):
    process = subprocess.Popen(
        [sys.executable, "-m", "millpond", "tune", model, "--seconds", "600"], stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and not folder.exists():  # it is made before the first run
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    assert (process.communicate()[1], process.returncode) == ("", 130)
    assert list(folder.iterdir()) == []
