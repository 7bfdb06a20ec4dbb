"""``millpond inspect``: settings of the pooler, sizes of vectors, classes and activations."""

import pytest
from inspect_kit import edit, facts, inspect, problem, write_checkpoint

from millpond import PoolerConfig
from millpond.testing import checkpoints


@pytest.fixture
def folder(tmp_path):
    return write_checkpoint(tmp_path / "model")


def test_each_setting_of_the_pooler_has_its_origin(folder):
    report = facts(folder, "--pooler-config", '{"use_activation": false, "enable_chunked_processing": true}')["pooler"]
    assert set(report) == set(PoolerConfig.model_fields)
    assert report["seq_pooling_type"] == {"value": "CLS", "from": "1_Pooling/config.json"}
    assert report["use_activation"] == {"value": False, "from": "the command line"}
    assert report["enable_chunked_processing"] == {"value": True, "from": "the command line"}
    assert report["chunk_renormalize"] == {"value": True, "from": "the default of Millpond"}
    assert report["tok_pooling_type"] == {"value": None, "from": "the default of Millpond"}
    output = inspect(folder).stdout
    assert '  pooler        seq_pooling_type: "CLS", from 1_Pooling/config.json\n' in output
    assert "                use_activation: true, from modules.json\n" in output
    assert "chunk_renormalize" not in output


def test_several_pooling_types_are_one_vector(folder):
    edit(folder / "1_Pooling" / "config.json", pooling_mode=["cls", "max"])
    (task, _) = facts(folder)["tasks"]
    assert (task["pooling"], task["pooler_plugin"]) == ("CLS+MAX", "poolers")


@pytest.mark.parametrize(
    ("config", "overrides", "dimensions", "origin"),
    [
        ({"matryoshka_dimensions": [32, 16]}, None, [32, 16], "config.json (matryoshka_dimensions)"),
        ({"is_matryoshka": True}, None, None, "config.json (is_matryoshka)"),
        ({}, '{"matryoshka_dimensions": [8]}', [8], "the command line (matryoshka_dimensions)"),
        (
            {"_name_or_path": "mixedbread-ai/mxbai-embed-large-v1"},
            None,
            None,
            "the settings published for this model, or modules.json",
        ),
    ],
)
def test_sizes_that_vectors_may_be_cut_to(folder, config, overrides, dimensions, origin):
    assert facts(folder)["matryoshka"] is None
    edit(folder / "config.json", **config)
    options = [] if overrides is None else ["--hf-overrides", overrides]
    report = facts(folder, *options)
    assert report["matryoshka"] == {"dimensions": dimensions, "from": origin}
    assert report["known"] == ({"is_matryoshka": True} if "_name_or_path" in config else {})
    sizes = ", ".join(map(str, dimensions)) if dimensions else "any smaller size"
    assert f"  matryoshka    {sizes}, from {origin}\n" in inspect(folder, *options).stdout


def test_classes_and_their_activation(tmp_path):
    folder = checkpoints.tiny("BertForSequenceClassification", tmp_path / "model", num_labels=3)
    edit(folder / "config.json", id2label={"0": "grief", "1": "joy", "2": "rage"})
    report = facts(folder)
    assert report["classes"] == {
        "num_labels": 3,
        "labels": ["grief", "joy", "rage"],
        "activation": "softmax",
        "activation_from": "the default for several classes",
    }
    assert report["embedding_size"] is None
    assert (report["tasks"][0]["name"], report["tasks"][0]["activation"]) == ("classify", "softmax")
    edit(folder / "config.json", problem_type="multi_label_classification")
    assert facts(folder)["classes"]["activation_from"] == "config.json (problem_type)"
    output = inspect(folder).stdout
    assert "  classes       3: grief, joy, rage; sigmoid, from config.json (problem_type)\n" in output
    off = facts(folder, "--pooler-config", '{"use_activation": false}')["tasks"][0]
    assert (off["activation"], off["activation_from"]) == (None, "the command line")


def test_a_cross_encoder_with_an_activation_of_sentence_transformers(tmp_path):
    folder = checkpoints.tiny("BertForSequenceClassification", tmp_path / "model", num_labels=1)
    assert facts(folder)["classes"]["activation_from"] == "the default for one score"
    edit(folder / "config.json", sbert_ce_default_activation_function="torch.nn.modules.linear.Identity")
    report = facts(folder)["classes"]
    assert (report["num_labels"], report["activation"]) == (1, "identity")
    assert report["activation_from"] == "config.json (sbert_ce_default_activation_function)"
    edit(folder / "config.json", sbert_ce_default_activation_function="os.system")
    assert "restricted to torch.nn.modules" in problem(folder)
