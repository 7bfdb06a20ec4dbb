"""``millpond verify``: a correct model passes, a planted fault is found and named, certificates are reproducible."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from millpond.testing.checkpoints import tiny
from millpond.testing.comparisons import rewrite
from millpond_checkpoints.file_hashes import file_hash
from millpond_command import cli

SHORT_TEXTS = ("--max-tokens", "16")


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def change_weights(folder):
    name = "encoder.layer.1.output.dense.weight"
    rewrite(folder, lambda tensors: {**tensors, name: tensors[name] * 1.01})


def change_pooling(folder):
    edit(folder / "1_Pooling" / "config.json", pooling_mode="cls")


def change_prompt(folder):
    edit(folder / "config_sentence_transformers.json", prompts={"query": "question: "})


def change_tokenizer(folder):
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    vocabulary["the"], vocabulary["old"] = vocabulary["old"], vocabulary["the"]
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_correct_model_passes_and_a_changed_one_fails(verify, tmp_path):
    """A model without files of sentence-transformers: the quick tests do not import them, which takes seconds."""
    folder = tiny("BertModel", tmp_path / "model")
    done, certificate = verify(folder, *SHORT_TEXTS, "--progress")
    assert done.exit_code == 0, done.output
    assert done.stdout.endswith("\npassed\n")
    assert "\n400 of 400 inputs (100%), " in done.stderr
    assert (certificate["passed"], certificate["results"]) == (True, "hidden states")
    changed = shutil.copytree(folder, tmp_path / "changed")
    change_weights(changed)
    done, certificate = verify(changed, "--reference", folder, *SHORT_TEXTS)
    assert done.exit_code == cli.FAILURE
    assert "encoder.layer.1.output.dense.weight" in done.stdout
    assert certificate["passed"] is False


@pytest.mark.slow
def test_the_certificate_contains_all_facts(verify, embedding_model):
    done, certificate = verify(embedding_model, "--quantization", "int8")
    assert done.exit_code == 0, done.output
    assert (certificate["passed"], certificate["problems"]) == (True, [])
    assert certificate["reference"]["name"].endswith(", SentenceTransformer")
    assert certificate["inputs"]["count"] == 220
    assert certificate["tokens"] == {"equal": 220, "count": 220, "longest": 48, "first_difference": None}
    assert certificate["files"]["model.safetensors"] == file_hash(embedding_model / "model.safetensors")
    assert {"millpond", "torch", "transformers", "sentence-transformers", "python"} <= certificate["versions"].keys()
    assert certificate["machine"]["processor"]
    exact, quantized = certificate["runs"]
    assert [part["name"] for part in exact["parts"]] == ["texts", "prompt query"]
    assert exact["parts"][0]["max_cosine_distance"] < 1e-10 < quantized["parts"][0]["max_cosine_distance"]
    assert exact["parts"][0]["top_10_overlap"] == 1
    settings = {row["name"]: (row["millpond"], row["reference"], row["origin"]) for row in certificate["settings"]}
    assert settings["max_length"] == (48, 48, "sentence_bert_config.json (max_seq_length)")
    assert settings["pooling"] == ("MEAN", "MEAN", "1_Pooling/config.json")
    assert settings["dense"] == (["32 to 16, tanh"], ["32 to 16, tanh"], "2_Dense/config.json")
    assert settings["prompt query"] == ("query: ", "query: ", "config_sentence_transformers.json")
    assert {row["equal"] for row in certificate["settings"]} == {True}


@pytest.mark.slow
def test_certificates_differ_only_in_the_time(verify, embedding_model):
    first, second = (verify(embedding_model, *SHORT_TEXTS)[1] for _ in range(2))
    assert first.pop("created") <= second.pop("created")
    assert first == second


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param(
            change_pooling,
            "pooling: Millpond 'CLS', from 1_Pooling/config.json; reference 'MEAN'",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            change_prompt,
            "prompt query: Millpond 'question: ', from config_sentence_transformers.json; reference",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            change_weights,
            "model.safetensors differs from that of the reference: encoder.layer.1.output.dense.weight",
            marks=pytest.mark.slow,
        ),
        pytest.param(change_tokenizer, "inputs have other token ids. text ", marks=pytest.mark.slow),
    ],
    ids=lambda it: it.__name__ if callable(it) else "",
)
def test_a_changed_copy_fails_and_the_difference_is_named(verify, embedding_model, copy, change, named):
    change(copy)
    done, certificate = verify(copy, "--reference", embedding_model, *SHORT_TEXTS)
    assert done.exit_code == cli.FAILURE
    assert named in done.stdout
    assert done.stdout.endswith("\nfailed\n")
    assert any(named in problem for problem in certificate["problems"])
    assert any("float32, " in problem and "cosine distance" in problem for problem in certificate["problems"])


@pytest.mark.slow
def test_an_unchanged_copy_passes_with_the_original_as_reference(verify, embedding_model, copy):
    (copy / "unused.json").write_text("{}", encoding="utf-8")
    done, certificate = verify(copy, "--reference", embedding_model, *SHORT_TEXTS)
    assert done.exit_code == 0
    assert certificate["file_differences"] == ["unused.json is only in the model"]


@pytest.mark.slow
def test_options_that_change_results_fail(verify, embedding_model):
    done, _ = verify(embedding_model, "--pooler-config", '{"use_activation": false}', *SHORT_TEXTS)
    assert done.exit_code == cli.FAILURE
    assert "normalize: Millpond False, from the command line; reference True" in done.stdout
    assert "the lengths of vectors differ by up to" in done.stdout


@pytest.mark.slow
def test_the_tolerance_decides(verify, embedding_model):
    quantized = (embedding_model, "--quantization", "int8", *SHORT_TEXTS)
    assert verify(*quantized)[0].exit_code == 0
    done, certificate = verify(*quantized, "--tolerance", "1e-12")
    assert done.exit_code == cli.FAILURE
    assert [run["passed"] for run in certificate["runs"]] == [True, False]
    assert all(problem.startswith("int8, ") for problem in certificate["problems"])


@pytest.mark.slow
def test_the_certificate_is_printed_as_json(embedding_model):
    done = CliRunner().invoke(cli.app, ["verify", str(embedding_model), *SHORT_TEXTS, "--json"])
    assert json.loads(done.stdout)["passed"] is True
    assert "computing the inputs with Millpond in float32 ...\n" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dtype", "float8"], "Unknown dtype 'float8'. Available: float32, float, bfloat16, float16, half"),
        (["--output", "no/such/folder/file.json"], "the folder no/such/folder does not exist"),
        (["--pooler-config", "{"], "is not JSON"),
    ],
    ids=lambda it: it[0] if isinstance(it, list) else "",
)
def test_invalid_options_are_usage_errors(embedding_model, arguments, message):
    done = CliRunner().invoke(cli.app, ["verify", str(embedding_model), *arguments])
    assert done.exit_code == cli.USAGE
    assert message in done.stderr


@pytest.mark.slow
def test_a_model_without_a_tokenizer_is_refused(verify, tmp_path):
    done, certificate = verify(tiny("BertModel", tmp_path / "model", tokenizer=False))
    assert (done.exit_code, certificate) == (cli.USAGE, None)
    assert "has no tokenizer, so the built-in texts cannot be computed" in done.stderr
