"""``millpond inspect --resolved``: a model file with the origin of each value, which all commands load."""

import json
import tomllib

import numpy as np
import pytest
from inspect_kit import inspect, write_checkpoint
from typer.testing import CliRunner

from millpond import LLM
from millpond.testing import checkpoints
from millpond_command import cli
from millpond_command.model_arguments import check_folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_checkpoint(tmp_path / "model")


def resolved(*arguments):
    done = inspect(*arguments, "--resolved")
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.usefixtures("folder")
def test_each_value_has_its_origin():
    text = resolved("./model", "--pooler-config", '{"dimensions": 8}', "--dtype", "bfloat16")
    lines = text.splitlines()
    assert 'dtype = "bfloat16"  # the command line' in lines
    assert "max_model_len = 48  # sentence_bert_config.json (max_seq_length)" in lines
    assert 'seq_pooling_type = "CLS"  # 1_Pooling/config.json' in lines
    assert "dimensions = 8  # the command line" in lines
    assert 'query = "query: "  # config_sentence_transformers.json' in lines
    assert '# late_similarity = "maxsim"  # default' in lines
    assert 'architecture = "BertModel"  # config.json (architectures)' in lines
    inputs = "embedding.full_size, embedding.truncate_dim, pooler_config.dimensions (the command line)"
    assert f"# size = 16  # follows from {inputs}" in lines
    values = tomllib.loads(text)
    assert values["config"]["hidden_size"] == 32
    assert values["model"]["name"] == "./model"
    assert {"config.json", "model.safetensors", "tokenizer.json", "2_Dense/model.safetensors"} <= {
        *values["model"]["sha256"]
    }
    assert [module["path"] for module in values["modules"]["after"]] == ["2_Dense"]


def test_no_path_of_the_machine_and_no_secret_is_written(folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    text = resolved("./model")
    assert str(folder.parent) not in text
    assert "hf_secret" not in text


def test_names_and_texts_of_a_checkpoint_cannot_break_the_file(tmp_path):
    folder = checkpoints.tiny("BertModel", tmp_path / "model")
    prompts = {'a "b"\n[config]': "\x1b[31m\u2028\\ 'x' \U000e0001 ü = 1", "": "\t"}
    checkpoints.write_sentence_transformers(folder, prompts=prompts)
    text = resolved(folder)
    assert tomllib.loads(text)["prompting"]["prompts"] == prompts
    assert all(line.isprintable() for line in text.split("\n"))
    file = tmp_path / "model.toml"
    file.write_text(text)
    with LLM(str(file)) as llm:
        assert llm.model_config.prompting.prompts == prompts


@pytest.mark.usefixtures("folder")
def test_commands_load_the_file(tmp_path):
    (tmp_path / "model.toml").write_text(resolved("./model"))
    results = [
        CliRunner().invoke(cli.app, ["embed", "--model", model, "--format", "json", "a cat"])
        for model in ("./model", "./model.toml")
    ]
    assert {done.exit_code for done in results} == {0}
    assert results[0].stdout == results[1].stdout
    check_folder("./model.toml")
    report = json.loads(inspect("./model.toml", "--json").stdout)
    assert report["pooler"]["seq_pooling_type"]["from"].startswith("model.toml (line ")
    assert any(note.endswith("model.toml (line 2) overrides them") for note in report["notes"])
    assert resolved("./model.toml") != ""


def test_a_file_for_other_weights_is_refused(folder, tmp_path):
    file = tmp_path / "model.toml"
    file.write_text(resolved(folder))
    checkpoints.tiny("BertModel", folder, seed=5)
    done = CliRunner().invoke(cli.app, ["embed", "--model", str(file), "a cat"])
    assert done.exit_code == 1
    assert f"model.safetensors of {folder} is not the same as when these settings were written" in done.stderr
    file.write_text(resolved(folder))
    assert CliRunner().invoke(cli.app, ["embed", "--model", str(file), "a cat"]).exit_code == 0


def test_a_model_that_cannot_be_served_is_an_error(tmp_path):
    folder = checkpoints.tiny("BertModel", tmp_path / "model")
    (folder / "config.json").write_text('{"architectures": ["Unknown"]}')
    done = inspect(folder, "--resolved")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "Unknown architecture 'Unknown'" in done.stderr
    assert inspect(folder, "--resolved", "--json").exit_code == 2


@pytest.mark.slow
def test_engine_processes_use_the_settings_of_a_model_file(folder, tmp_path):
    file = tmp_path / "model.toml"
    file.write_text(f"[pooler_config]\nseq_pooling_type = 'MEAN'\n[model]\nname = {str(folder)!r}\n")
    with LLM(str(file)) as llm, LLM(str(file), data_parallel_size=2) as several:
        one, other = (np.array(it.embed("a cat")[0].outputs.embedding) for it in (llm, several))
    np.testing.assert_allclose(one, other, atol=1e-6)
