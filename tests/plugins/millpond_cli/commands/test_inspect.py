"""``millpond inspect``: the settings of a model, their origins and conflicts."""

import json
import subprocess
import sys

import pytest
from inspect_kit import MINILM, edit, facts, inspect, problem, write_checkpoint

from millpond import LLM
from millpond.plugin.manager import PluginManager
from millpond.plugin.specs import ConverterSpec, IOProcessorSpec
from millpond.testing import checkpoints
from millpond.testing.checkpoints import tiny, write_sparse_encoder
from millpond_cli.commands import inspect as command
from millpond_models.testing.bge_m3 import tiny_bge_m3
from millpond_models.testing.dual_encoders import tiny_dual_encoder


@pytest.fixture
def folder(tmp_path):
    return write_checkpoint(tmp_path / "model")


def test_inspect_reports_minilm_and_its_conflicting_values():
    report = facts(MINILM)
    assert (report["source"], report["architecture"]["name"], report["architecture"]["plugin"]) == (
        "package",
        "BertModel",
        "models",
    )
    assert report["converter"] is None
    assert [(task["name"], task["pooling"], task["pooling_from"]) for task in report["tasks"]] == [
        ("embed", "MEAN", "1_Pooling/config.json"),
        ("token_embed", "ALL", "the default of the task token_embed"),
    ]
    assert {(task["activation"], task["activation_from"]) for task in report["tasks"]} == {
        ("normalize", "modules.json")
    }
    length = report["max_model_len"]
    assert (length["value"], length["from"]) == (256, "sentence_bert_config.json (max_seq_length)")
    assert [(it["value"], it["file"], it["counts"]) for it in length["stated"]] == [
        (256, "sentence_bert_config.json", True),
        (512, "config.json", False),
        (512, "tokenizer_config.json", False),
        (128, "tokenizer.json", False),
    ]
    assert report["tokenizer"]["padding"]["strategy"] == {"Fixed": 128}
    assert (report["embedding_size"], report["dense"], report["remote_code"]) == (384, [], [])
    assert report["dtype"] == {"value": "float32", "from": "the weights (embeddings.LayerNorm.bias)"}
    assert report["weights"]["parameters"] == 22_713_216
    assert report["weights"]["files"] == ["model.safetensors"]
    assert report["notes"] == [
        (
            "the files specify 128, 256 and 512 tokens; 256 is used, because max_seq_length of sentence-transformers "
            "takes precedence"
        ),
        "the padding of tokenizer.json (Fixed 128) is ignored",
        "the truncation of tokenizer.json (max_length 128) is ignored",
    ]


def test_the_text_output_has_the_same_facts():
    done = inspect(MINILM)
    assert (done.exit_code, done.stderr) == (0, "")
    for line in (
        f"{MINILM}: can be served\n",
        "  architecture  BertModel, from the plugin models (millpond ",
        "  tasks         embed: MEAN, from 1_Pooling/config.json; normalize, from modules.json\n",
        "  max length    256 tokens, from sentence_bert_config.json (max_seq_length)\n",
        "                128 in tokenizer.json (truncation.max_length) is not used\n",
        "  weights       22,713,216 parameters, 90.9 MB in model.safetensors\n",
        "\nNotes\n  - the files specify 128, 256 and 512 tokens; 256 is used",
    ):
        assert line in done.stdout
    assert "Problems" not in done.stdout


def test_the_plugin_of_every_component_is_named():
    report = {(it["kind"], it["name"]): it for it in facts(MINILM)["components"]}
    assert {key: it["plugin"] for key, it in report.items() if key[0] != "io_processor"} == {
        ("source", "package"): "sources",
        ("checkpoint_format", "sentence_transformers"): "formats",
        ("architecture", "BertModel"): "models",
        ("task", "embed"): "tasks",
        ("task", "token_embed"): "tasks",
        ("pooler", "MEAN"): "poolers",
        ("pooler", "ALL"): "poolers",
        ("activation", "normalize"): "poolers",
    }
    assert report["io_processor", "embed"]["plugin"] == "io_processors"
    assert {it["replaces"] for it in report.values()} == {None}
    assert "  plugins       sources (millpond " in inspect(MINILM).stdout


def test_a_component_that_replaces_a_built_in_one_is_marked(install_plugin, folder):
    install_plugin(
        """
from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import ActivationSpec, PoolerSpec

@hookimpl
def register_poolers():
    yield PoolerSpec(name="CLS", target="builtins:print", tasks=("embed",))

@hookimpl
def register_activations():
    yield ActivationSpec(name="tanh", target="builtins:print")
""",
        "acme",
        version="2.0",
    )
    replaced = [it for it in facts(folder)["components"] if it["replaces"]]
    distribution = "millpond-acme 2.0"
    assert replaced == [
        {"kind": kind, "name": name, "plugin": "acme", "distribution": distribution, "replaces": f"poolers/{name}"}
        for kind, name in (("pooler", "CLS"), ("activation", "tanh"))
    ]
    output = inspect(folder).stdout
    assert "acme (millpond-acme 2.0): pooler CLS; activation tanh\n" in output
    assert "pooler CLS replaces poolers/CLS\n" in output


@pytest.mark.slow
def test_inspect_does_not_import_torch():
    code = f"""
import sys
from millpond_command.cli import app
try:
    app(["inspect", {MINILM!r}])
except SystemExit as exit_:
    assert exit_.code == 0
print(*sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "transformers", "numpy", "tokenizers", "safetensors", "huggingface_hub.hf_api"}
    assert heavy & set(done.stderr.split()) == set()


def test_modalities_are_shown_for_models_of_more_than_text(folder, tmp_path):
    assert facts(folder)["modalities"] == ["text"]
    seeing = tiny_dual_encoder("CLIPModel", tmp_path / "clip")
    assert facts(seeing)["modalities"] == ["text", "image"]
    assert "modalities    text and image" in inspect(seeing).stdout


def test_dense_modules_prompts_and_similarity(folder):
    report = facts(folder)
    assert report["embedding_size"] == 16
    assert report["dense"] == [
        {
            "folder": "2_Dense",
            "in_features": 32,
            "out_features": 16,
            "activation": "torch.nn.modules.activation.Tanh",
        }
    ]
    assert report["prompts"] == {
        "named": {"query": "query: "},
        "from": {"query": "config_sentence_transformers.json"},
        "default": None,
        "include_prompt": True,
    }
    assert report["similarity"] == "cosine"
    output = inspect(folder).stdout
    assert "  dense         32 to 16, torch.nn.modules.activation.Tanh, from 2_Dense\n" in output
    assert "  prompts       query: 'query: '\n" in output


def test_ignored_settings_are_noted(folder):
    edit(folder / "config_sentence_transformers.json", default_prompt_name="query", similarity_fn_name="dot")
    edit(folder / "1_Pooling" / "config.json", include_prompt=False)
    notes = facts(folder)["notes"]
    assert any("specifies a default prompt 'query' ('query: '); it is only used with" in note for note in notes)
    assert any("similarity 'dot'" in note for note in notes)
    assert any(note.startswith("1_Pooling/config.json excludes prompts from pooling") for note in notes)
    assert any("48 is used" in note for note in notes)


def test_sparse_weights_are_not_normalized_and_compared_by_their_product(tmp_path):
    folder = tiny("BertForMaskedLM", tmp_path)
    write_sparse_encoder(folder)
    report = facts(folder)
    embed = next(task for task in report["tasks"] if task["name"] == "embed")
    assert (embed["pooling"], embed["pooling_from"]) == ("SPLADE_MAX", "1_SpladePooling/config.json")
    assert (embed["activation"], embed["activation_from"]) == (None, "the pooling type SPLADE_MAX")
    assert report["similarity"] == "dot"
    assert any(
        "'dot', from config_sentence_transformers.json; `similarity` always uses the cosine" in note
        for note in report["notes"]
    )


def test_weights_of_bge_m3_are_not_negative_and_no_probabilities(tmp_path):
    tasks = {task["name"]: task for task in facts(tiny_bge_m3(tmp_path))["tasks"]}
    assert tasks["token_classify"]["activation"] == "relu"
    assert tasks["token_embed"]["activation"] == "normalize"


def test_the_command_line_is_an_origin_too(folder):
    report = facts(
        folder,
        *("--max-model-len", 32, "--dtype", "bfloat16", "--pooler-config", '{"pooling_type": "MEAN"}'),
        *("--hf-overrides", '{"architectures": ["RobertaModel"]}'),
    )
    assert report["architecture"]["name"] == "RobertaModel"
    assert (report["max_model_len"]["value"], report["max_model_len"]["from"]) == (32, "the command line")
    assert report["dtype"] == {"value": "bfloat16", "from": "the command line"}
    assert (report["tasks"][0]["pooling"], report["tasks"][0]["pooling_from"]) == ("MEAN", "the command line")


def test_values_that_no_file_states_have_defaults(tmp_path):
    folder = checkpoints.tiny("BertModel", tmp_path / "plain", tokenizer=False)
    report = facts(folder)
    assert (report["tasks"][0]["pooling"], report["tasks"][0]["pooling_from"]) == ("CLS", "the architecture BertModel")
    assert report["tasks"][0]["activation_from"] == "the default of the task embed"
    assert report["tokenizer"]["file"] is None
    assert "tokenizer.json is missing: the model accepts token ids only, not texts" in report["notes"]


def test_errors_of_a_model_of_features_do_not_suggest_token_ids(tmp_path, install_plugin):
    install_plugin(
        "from millpond.plugin.hookspecs import hookimpl\nfrom millpond.plugin.specs import ArchitectureSpec\n"
        "@hookimpl\ndef register_architectures():\n"
        "    yield ArchitectureSpec(name='Sensors', target='x:y', tasks=('plugin',), modalities=('features',))\n",
        "acme",
    )
    checkpoints.write_config(tmp_path, {"architectures": ["Sensors"], "hidden_size": 8})
    checkpoints.write_weights(tmp_path, checkpoints.random_tensors({"up.weight": (8, 3)}))
    done = inspect(tmp_path)
    assert "architecture  Sensors, from the plugin acme" in done.stdout
    assert not done.stdout.split("Sensors", 1)[1].splitlines()[0].endswith(": ")
    assert "there is no tokenizer.json" not in done.stdout


@pytest.fixture
def plugins(monkeypatch):
    """The plugin manager of the command, to which a test may add."""
    manager = PluginManager(ranks=("builtin",), disabled=())
    monkeypatch.setattr(command, "get_plugin_manager", lambda: manager)
    return manager


def test_a_model_that_is_made_a_pooling_model_of_another(folder, plugins):
    edit(folder / "config.json", architectures=["BertForRewardModel"])
    plugins.register(
        ConverterSpec(name="gizmo", target="no:where", architectures=("*ForRewardModel",), tasks=("token_classify",)),
        plugin="mine",
    )
    report = facts(folder)
    assert (report["architecture"]["name"], report["architecture"]["stated"]) == ("BertModel", ["BertForRewardModel"])
    assert report["converter"] == {
        "name": "gizmo",
        "plugin": "mine",
        "distribution": None,
        "tasks": ["token_classify"],
        "why": "for *ForRewardModel",
    }
    assert [task["name"] for task in report["tasks"]] == ["token_classify"]
    output = inspect(folder).stdout
    assert "                used for BertForRewardModel of config.json, which is in the same family\n" in output
    assert "  converter     gizmo, from the plugin mine, for *ForRewardModel: adds token_classify\n" in output


def test_inspect_reports_the_converter_of_a_language_model(tmp_path):
    folder = checkpoints.tiny("LlamaForCausalLM", tmp_path / "model")
    report = facts(folder)
    assert (report["converter"]["name"], report["converter"]["why"]) == ("embed", "for *ForCausalLM")
    assert [task["name"] for task in report["tasks"]] == ["embed", "token_embed"]
    report = facts(folder, "--convert", "classify")
    assert (report["converter"]["name"], report["converter"]["why"]) == ("classify", "requested by the command line")
    assert report["tasks"][0]["pooling_from"] == "the default of the task classify"
    assert report["classes"]["num_labels"] == 2
    settings = {"model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.linear.Identity"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings), encoding="utf-8")
    edit(folder / "config.json", architectures=["LlamaModel"], num_labels=1)
    report = facts(folder)
    assert report["converter"]["why"] == "for config_sentence_transformers.json (model_type CrossEncoder)"
    assert report["classes"]["activation_from"] == "config_sentence_transformers.json (activation_fn)"


def test_the_io_processor_that_a_model_names(folder, plugins):
    edit(folder / "config.json", io_processor_plugin="gizmo")
    assert "The model requires the 'gizmo' IO Processor plugin but it is not installed" in problem(folder)
    plugins.register(IOProcessorSpec(name="gizmo", target="no:where", tasks=("plugin",)), plugin="mine")
    assert facts(folder)["io_processor"] == {"name": "gizmo", "plugin": "mine", "from": "config.json"}
    assert "  IO processor  gizmo, from the plugin mine, specified in config.json\n" in inspect(folder).stdout


def test_code_of_the_model_is_named_and_not_run(folder):
    (folder / "modeling_own.py").write_text("raise SystemExit('it ran')", encoding="utf-8")
    edit(folder / "config.json", auto_map={"AutoModel": "modeling_own.Model"})
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["modeling_own.Tokenizer", None]})
    report = facts(folder)
    assert [(code["file"], code["key"]) for code in report["remote_code"]] == [
        ("config.json", "auto_map.AutoModel"),
        ("tokenizer_config.json", "auto_map.AutoTokenizer"),
    ]
    assert "the files of the model specify custom code; it is not run" in report["notes"]
    assert "custom code   modeling_own.Model, specified in config.json (auto_map.AutoModel)" in inspect(folder).stdout


def test_shards_are_counted_together(tmp_path):
    whole = facts(checkpoints.tiny("BertModel", tmp_path / "whole"))["weights"]
    parts = facts(checkpoints.tiny("BertModel", tmp_path / "parts", shards=3))["weights"]
    assert parts["parameters"] == whole["parameters"] > 0
    assert len(parts["files"]) == 3


def test_adapters_are_named(tmp_path):
    folder = checkpoints.tiny("XLMRobertaModel", tmp_path / "jina", position_embedding_type="rotary")
    names = ["retrieval.query", "retrieval.passage", "separation", "classification", "text-matching"]
    assert facts(folder)["adapters"] == names
    assert f"  adapters      {', '.join(names)}\n" in inspect(folder).stdout
    assert facts(checkpoints.tiny("BertModel", tmp_path / "bert"))["adapters"] is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), None),
        (("--cache", "vectors"), ("disk", "vectors", None, True)),
        (("--cache", "memory", "--cache-size", "2MB"), ("memory", "", 2_000_000, False)),
        (("--cache", "memory:512MB"), ("memory", "512MB", None, False)),
    ],
)
def test_the_chosen_cache_is_shown(tmp_path, options, expected):
    cache = facts(checkpoints.tiny("BertModel", tmp_path / "model"), *options)["cache"]
    assert expected == (cache and (cache["name"], cache["address"], cache["max_bytes"], cache["persistent"]))
    assert not (tmp_path / "vectors").exists()


def test_a_cache_that_cannot_be_used_is_a_problem(folder):
    assert "Unknown cache 'memroy'. Did you mean 'memory'?" in problem(folder, "--cache", "memroy:1GB")
    done = inspect(folder, "--cache", "vectors", "--cache-size", "2MB")
    assert "cache" in done.stdout
    assert "disk:vectors, from the plugin" in " ".join(done.stdout.split())
    assert "at most 2.0 MB" in " ".join(done.stdout.split())


def test_inspect_shows_the_space_of_embeddings(folder):
    space = facts(folder)["space"]
    with LLM(str(folder), num_workers=1) as llm:
        assert space == llm.space.descriptor
    assert f"space         {llm.space_id}" in inspect(folder).stdout
    assert facts(tiny("BertForSequenceClassification", folder.parent / "classes"))["space"] is None
