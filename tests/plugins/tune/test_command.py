"""The command ``millpond tune``: what it prints, stores, lists and forgets, and what it refuses."""

import json
import logging
from pathlib import Path

import pytest
from typer.testing import CliRunner

from millpond import LLM, cli
from millpond.loading.profile import read_profile
from millpond_cli import tuning


def test_from_measuring_to_a_model_that_is_loaded_with_it(model, folder, caplog, kit):
    found = kit.told(kit.tune(model, "--seconds", 1, "--json"))
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


def test_a_person_reads_a_table(model, folder, kit):
    done = kit.tune(model, "--seconds", 0.5)
    assert (done.exit_code, done.stderr) == (0, "")
    heading, *lines = done.stdout.splitlines()
    assert heading.split("  ")[0] == "SETTING"
    assert any(line.startswith("linear ") and "the default" in line for line in lines)
    assert lines[-2].startswith("Chosen: ")
    assert lines[-1] == f"Stored: {next(folder.iterdir())}"


def test_a_dry_run_stores_nothing(model, folder, kit):
    assert kit.told(kit.tune(model, "--seconds", 0.2, "--dry-run", "--json"))["stored"] is None
    assert kit.tune(model, "--seconds", 0.2, "--dry-run").stdout.splitlines()[-1] == "Stored: nothing."
    assert not folder.exists()


def test_a_profile_may_be_stored_in_a_file(model, folder, tmp_path, kit):
    path = tmp_path / "deeper" / "mine.json"
    found = kit.told(kit.tune(model, "--seconds", 0.2, "--output", path, "--kernel", "attention=reference", "--json"))
    assert found["stored"] == str(path)
    assert not folder.exists()
    assert read_profile(path).settings.kernels["attention"] == "reference"
    with LLM(model, profile=path) as llm:
        kernel = llm._loaded.model.layers[0].attention.attention.kernel  # noqa: SLF001
        assert kernel.__module__ == "millpond_kernels.attention_reference"


def test_each_mode_has_a_profile_of_its_own_and_a_new_one_takes_the_place_of_the_old(model, folder, kit):
    names = set()
    for options in ([], ["--quantization", "int8"], ["--deterministic"], []):
        names.add(Path(kit.told(kit.tune(model, "--seconds", 0.1, *options, "--json"))["stored"]).name)
    assert names == {path.name for path in folder.iterdir()}
    assert len(names) == 3
    listed = kit.tune("--list").stdout
    assert listed.startswith(f"3 profiles in {folder}\n\nMODEL")
    assert listed.count("BertModel, 32 x 2") == listed.count("this machine") == 3
    for mode in ("float32 on cpu  ", "float32 on cpu, int8", "float32 on cpu, deterministic"):
        assert mode in listed


def test_profiles_are_listed_and_forgotten(model, folder, kit):
    assert kit.tune("--list").stdout == f"No profiles in {folder}\n"
    assert kit.told(kit.tune("--list", "--json")) == []
    found = kit.told(kit.tune(model, "--seconds", 0.1, "--json"))
    (folder / "broken.json").write_text("{", encoding="utf-8")
    first, second = kit.told(kit.tune("--list", "--json"))
    assert first == {"file": found["stored"], "profile": found["profile"], "problem": None}
    assert (second["file"], second["profile"]) == (str(folder / "broken.json"), None)
    assert "is not valid JSON" in second["problem"]
    assert f"the profile {folder / 'broken.json'} is not valid JSON" in kit.tune("--list").stdout
    assert kit.tune(model, "--forget", "--quantization", "int8").stdout.startswith("There was none: ")
    assert kit.tune(model, "--forget").stdout == f"Removed: {found['stored']}\n"
    assert kit.tune(model, "--forget").stdout == f"There was none: {found['stored']}\n"
    assert [path.name for path in folder.iterdir()] == ["broken.json"]


def test_a_profile_of_another_machine_is_listed_as_such(model, folder, monkeypatch, kit):
    kit.tune(model, "--seconds", 0.1)
    monkeypatch.setattr("millpond_cli.profile_files.processor_name", lambda: "Another CPU")
    assert "this machine" not in kit.tune("--list").stdout
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
def test_what_makes_no_sense_is_refused_before_anything_is_measured(model, arguments, reason, monkeypatch, kit):
    monkeypatch.setattr(tuning, "tune", lambda lab: pytest.fail("it was measured"))
    done = kit.tune(*(argument.format(model=model) for argument in arguments))
    assert (done.exit_code, done.stdout) == (2, "")
    assert reason in done.stderr


def test_without_a_folder_there_is_nowhere_to_store(model, tmp_path, monkeypatch, kit):
    monkeypatch.setenv("MILLPOND_PROFILES", "0")
    for arguments in ([model], [model, "--forget"], ["--list"]):
        done = kit.tune(*arguments)
        assert (done.exit_code, done.stdout) == (2, "")
        assert "MILLPOND_PROFILES=0 says so" in done.stderr
        assert "--output FILE" in done.stderr
    assert kit.told(kit.tune(model, "--seconds", 0.1, "--output", tmp_path / "it.json", "--json"))["stored"]
    assert kit.told(kit.tune(model, "--seconds", 0.1, "--dry-run", "--json"))["stored"] is None


def test_where_nothing_can_be_written_is_told_before_anything_is_measured(model, tmp_path, monkeypatch, kit):
    monkeypatch.setattr("millpond_cli.profiling.tune", lambda lab: pytest.fail("it was measured"))
    (tmp_path / "file").write_text("", encoding="utf-8")
    for path in (tmp_path / "file" / "in_it.json", tmp_path):
        done = kit.tune(model, "--output", path)
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.startswith(f"error: cannot write {path}: ")


def test_a_model_that_does_not_load_is_told_and_nothing_is_stored(tmp_path, folder, kit):
    done = kit.tune(tmp_path / "absent", "--seconds", 0.1)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "no source has the model" in done.stderr
    assert not folder.exists()
