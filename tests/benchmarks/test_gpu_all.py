"""gpu_all.py: all of its sections on the CPU with tiny models, its time limits, and its decisions."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError

import gpu_all
import gpu_sections
import pytest
from gpu_decisions import decide
from gpu_models import BERT_BASE, QWEN3, WORKS
from gpu_run import attempt, peak_tflops
from tables import markdown


@pytest.mark.slow
def test_every_section_runs_on_the_cpu(monkeypatch, tmp_path, capsys):
    """The limits are for idle machines: other tests may run at the same time."""
    monkeypatch.setattr(gpu_all, "LIMITS_S", {name: 20 * limit for name, limit in gpu_all.LIMITS_S.items()})
    arguments = ["gpu_all.py", "--device", "cpu", "--short", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    assert gpu_all.main() == 0, (tmp_path / "gpu_all.json").read_text()
    result = json.loads((tmp_path / "gpu_all.json").read_text(encoding="utf-8"))
    assert list(result["sections"]) == list(gpu_all.LIMITS_S)
    assert all(section["rows"] for section in result["sections"].values())
    decisions = result["decisions"]
    assert decisions["parity"]["passed"], decisions["parity"]
    assert decisions["kernels"]["normalize.torch"]["conforms"]
    assert set(decisions["goals"]) == {work.name for work in WORKS}
    assert decisions["models_that_wait"] == {}
    assert decisions["batches_in_flight"] in (1, 2, 3)
    assert decisions["http_tokens_per_second"] > 0
    sides = {row["side"]: row for row in result["sections"]["variants"]["rows"] if "left_out" not in row}
    assert sides["millpond, default"]["tokens_per_second"] > 0
    assert sides["transformers, sdpa"]["tokens_per_second"] > 0
    assert (tmp_path / "trace-default.json.gz").exists()
    assert json.loads(capsys.readouterr().out) == decisions
    assert "BERT-base, 512 tokens" in markdown(result)


def test_limits_add_up_to_less_than_eight_minutes():
    assert sum(gpu_all.LIMITS_S.values()) < 480
    assert set(gpu_all.LIMITS_S) == set(gpu_sections.SECTIONS)


SECTION = """
import json, sys, time
rows = open(sys.argv[sys.argv.index("--rows") + 1], "w")
rows.write(json.dumps({"tokens": 1}) + "\\n" + '{"tokens": ')
rows.flush()
print("a line of the log", flush=True)
"""


@pytest.mark.parametrize(
    ("end", "status"),
    [("", "ok"), ("sys.exit(3)", "failed"), ("time.sleep(600)", "stopped at its time limit")],
    ids=["ok", "fails", "hangs"],
)
def test_a_section_that_fails_or_hangs_keeps_its_rows(monkeypatch, tmp_path, end, status):
    (tmp_path / "gpu_sections.py").write_text(SECTION + end, encoding="utf-8")
    monkeypatch.setattr(gpu_all, "HERE", tmp_path)
    limit = 2.0 if status.startswith("stopped") else 120.0
    sections = []
    gpu_all.run_section("machine", limit, tmp_path, [], dict(os.environ), report=sections.append)
    section = sections[-1]
    assert section["status"] == status
    assert sections[0]["status"] == "running"
    assert section["rows"] in ([{"tokens": 1}], []) if status.startswith("stopped") else [{"tokens": 1}]
    assert ("log" in section) is (status != "ok")


STOPPED = """
import gpu_all, sys
gpu_all.WRITE_INTERVAL_S = 0.1
gpu_all.HERE = gpu_all.Path(sys.argv.pop())
gpu_all.has_cuda = lambda: True
raise SystemExit(gpu_all.main())
"""


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL])
def test_the_file_is_complete_if_the_program_is_stopped(tmp_path, stop):
    pid = "import os; open(os.path.join(os.path.dirname(__file__), 'pid'), 'w').write(str(os.getpid()))\n"
    (tmp_path / "gpu_sections.py").write_text(pid + SECTION + "time.sleep(20)", encoding="utf-8")
    command = [sys.executable, "-c", STOPPED, "--sections", "machine,http", "--output", str(tmp_path), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(gpu_all.HERE), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        result = {}
        while not result.get("sections", {}).get("machine", {}).get("rows"):
            assert process.poll() is None
            time.sleep(0.05)
            with contextlib.suppress(OSError):
                result = json.loads((tmp_path / "gpu_all.json").read_text(encoding="utf-8"))
        process.send_signal(stop)
        process.wait(60)
    section = int((tmp_path / "pid").read_text(encoding="utf-8"))
    if stop is signal.SIGKILL:
        os.kill(section, signal.SIGKILL)
    else:
        with pytest.raises(ProcessLookupError):
            os.kill(section, 0)
    result = json.loads((tmp_path / "gpu_all.json").read_text(encoding="utf-8"))
    assert result["sections"]["machine"] == {
        **result["sections"]["machine"],
        "status": "running",
        "rows": [{"tokens": 1}],
    }


def test_numbers_that_json_does_not_have_are_null(tmp_path):
    gpu_all.write_result(tmp_path / "x.json", {"rows": [{"cosine": float("nan"), "ms": {"a": float("inf")}, "n": 1.5}]})
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=pytest.fail) == {"rows": [{"cosine": None, "ms": {"a": None}, "n": 1.5}]}


def test_an_error_is_a_row_and_decisions_ignore_it():
    def fails():
        raise MemoryError("no memory")

    error = {"error": "MemoryError: no memory"}
    assert attempt({"tokens": 1}, fails) == {"tokens": 1, **error}
    work = WORKS[0].name
    rows = {
        "parity": [{"model": "a", "dtype": "float32", "side": "millpond", **error}],
        "throughput": [*SPEEDS, {"work": work, "side": "transformers, sdpa", "batch_tokens": 1, **error}],
        "texts": [{"side": "millpond", **error}],
        "maxsim": [{"kernel": "maxsim.torch", **error}],
        "graphs": [{"tokens": 10, **error}],
        "pipeline": [{"in_flight": 1, **error}],
        "http": [{"in_flight": 1, **error}],
        "syncs": [{"model": "a", **error}],
    }
    decisions = decide({name: {"rows": it} for name, it in rows.items()})
    assert decisions["parity"]["passed"] is False
    assert decisions["goals"][work]["times_transformers"] is None
    assert decisions["models_that_wait"] == {}


def test_an_unexpected_row_does_not_end_the_measurements():
    assert gpu_all._decisions({"graphs": {"rows": [1]}})["error"].startswith("AttributeError")  # noqa: SLF001


def test_missing_packages_and_devices_are_reported(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(gpu_all, "REQUIRED", ("torch", "no_such_package"))
    monkeypatch.setattr(sys, "argv", ["gpu_all.py", "--output", str(tmp_path)])
    assert gpu_all.main() == 1
    assert "Missing packages: no_such_package." in capsys.readouterr().err
    monkeypatch.setattr(gpu_all, "REQUIRED", ("torch",))
    monkeypatch.setattr(gpu_all, "has_cuda", lambda: False)
    assert gpu_all.main() == 1
    assert "No CUDA device found" in capsys.readouterr().err


def test_without_an_installation_the_sources_provide_the_plugins(monkeypatch, tmp_path):
    def not_installed(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(gpu_all, "distribution", not_installed)
    path = gpu_all.child_environment(tmp_path)["PYTHONPATH"].split(os.pathsep)
    assert {str(gpu_all.ROOT / "core"), str(gpu_all.ROOT / "kernels"), str(tmp_path)} <= set(path)
    (points,) = tmp_path.glob("millpond-*.dist-info/entry_points.txt")
    text = points.read_text(encoding="utf-8")
    assert "kernels = millpond_kernels.plugin" in text
    assert "[console_scripts]\nmillpond = " in text, "the section http starts `python -m millpond serve`"


# --- decisions --------------------------------------------------------------------------------------------------------


def row(work, attention, batch_tokens, speed, side="millpond"):
    return {
        "work": work, "side": side, "attention": attention, "batch_tokens": batch_tokens, "tokens_per_second": speed,
        "sequences_per_second": speed / 500, "share_of_peak": 0.4,
    }  # fmt: skip


def sections(throughput, conformance=()):
    return {"throughput": {"rows": throughput}, "conformance": {"rows": list(conformance)}}


WORK, OTHER = WORKS[0].name, WORKS[1].name
PASSED = {"kernel": "attention.varlen", "test": "test_one_token", "outcome": "passed"}
FAILED = {**PASSED, "outcome": "failed"}
SPEEDS = [row(WORK, "", 32768, 1e6), row(WORK, "varlen", 32768, 2e6)]


@pytest.mark.parametrize(
    ("conformance", "choice"),
    [([PASSED], "varlen"), ([PASSED, FAILED], ""), ([], ""), ([{**PASSED, "outcome": "skipped"}], "")],
    ids=["conforms", "fails", "not run", "skipped"],
)
def test_a_faster_kernel_is_chosen_only_if_it_conforms(conformance, choice):
    decisions = decide(sections(SPEEDS, conformance))
    assert decisions["attention"] == {"relative_speed": {"": 1.0, "varlen": 2.0}, "choice": choice}


def test_the_smallest_batch_that_is_nearly_as_fast_is_chosen():
    speeds = [row(WORK, "", size, speed) for size, speed in ((16384, 1.0), (32768, 1.9), (65536, 1.95), (131072, 1.8))]
    assert decide(sections(speeds))["batch_tokens"] == 32768


def test_sizes_that_were_not_measured_for_every_work_do_not_count():
    speeds = [row(WORK, "", 16384, 1.0), row(WORK, "", 65536, 9.0), row(OTHER, "", 16384, 1.0)]
    assert decide(sections(speeds))["batch_tokens"] == 16384


def test_goals_are_shown_next_to_the_best_peer():
    failed = {"work": WORK, "side": "millpond", "error": "x"}
    rows = [*SPEEDS, row(WORK, "", 16384, 5e5, side="transformers, sdpa"), failed]
    table = decide(sections(rows))["goals"]
    assert list(table) == [WORK]
    assert (table[WORK]["tokens_per_second"], table[WORK]["times_transformers"]) == (2e6, 4.0)
    assert table[WORK]["share_of_goal"] == pytest.approx(2e6 / WORKS[0].goal)


def test_graphs_are_for_batches_that_they_compute_faster_with_the_same_vectors():
    def graph(tokens, ms, cosine=1.0, refusal=""):
        return {"tokens": tokens, "ms": {"as usual": 1.0, "graph": ms}, "min_cosine": cosine, "refusal": refusal}

    rows = [graph(10, 0.2), graph(500, 0.5), graph(1000, 0.95), graph(2000, 0.5, 0.9), graph(9, 0.1, refusal="no")]
    assert decide({"graphs": {"rows": rows}})["graph_tokens"] == 500


@pytest.mark.parametrize(
    ("speeds", "choice"),
    [({1: 1.0, 2: 1.5, 3: 1.51}, 2), ({1: 1.0, 2: 1.01, 3: 1.02}, 1), ({1: 1.0, 2: 0.5}, 1)],
    ids=["two", "no gain", "slower"],
)
def test_the_fewest_batches_in_flight_that_are_nearly_fastest_are_chosen(speeds, choice):
    rows = [{"in_flight": n, "tokens_per_second": speed, "min_cosine": 1.0} for n, speed in speeds.items()]
    assert decide({"pipeline": {"rows": rows}})["batches_in_flight"] == choice
    wrong = [{**it, "min_cosine": 0.5 if it["in_flight"] > 1 else 1.0} for it in rows]
    assert decide({"pipeline": {"rows": wrong}})["batches_in_flight"] == 1


@pytest.mark.parametrize(
    ("name", "peak"),
    [("NVIDIA H100 80GB HBM3", 989.0), ("NVIDIA H100 PCIe", 756.0), ("NVIDIA L40S", 362.0), ("unknown", None)],
)
def test_the_published_peak_is_that_of_the_device(name, peak):
    assert peak_tflops(name) == peak


def test_no_decision_is_made_without_measurements():
    assert decide({}) == {}


def test_operations_of_bert_base_are_those_of_its_parameters():
    """2 per parameter of the layers and token, and 4 * hidden * length per layer for the scores."""
    config = dict(BERT_BASE.config)
    parameters = 12 * (4 * 768**2 + 2 * 768 * 3072)
    assert BERT_BASE.flops(config, 512) == pytest.approx(512 * (2 * parameters + 12 * 4 * 768 * 512))
    qwen = dict(QWEN3.config)
    parameters = 28 * (1024 * (2 * 2048 + 2 * 1024) + 3 * 1024 * 3072)
    assert QWEN3.flops(qwen, 100) == pytest.approx(100 * (2 * parameters + 28 * 2 * 2048 * 100))
