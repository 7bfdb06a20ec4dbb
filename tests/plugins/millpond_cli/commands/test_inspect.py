"""``millpond inspect``: what a model is, from which file, what conflicts; and why a model cannot be served."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from millpond import PoolerConfig
from millpond.plugin.manager import PluginManager
from millpond.plugin.specs import ConverterSpec, IOProcessorSpec
from millpond.testing import checkpoints
from millpond.testing.checkpoints import tiny, write_sparse_encoder
from millpond_cli.commands import inspect as command
from millpond_command import cli
from millpond_models.testing.bge_m3 import tiny_bge_m3
from millpond_models.testing.dual_encoders import tiny_dual_encoder

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def inspect(*arguments):
    return CliRunner().invoke(cli.app, ["inspect", *map(str, arguments)])


def facts(*arguments, exit_code=0):
    done = inspect(*arguments, "--json")
    assert done.exit_code == exit_code, done.output
    found = json.loads(done.stdout)
    assert found["servable"] is (exit_code == 0)
    return found


def edit(path, **changes):
    """Change fields of a JSON file; None takes a field out."""
    values = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}), encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    """A checkpoint with the files of sentence-transformers."""
    folder = checkpoints.tiny("BertModel", tmp_path / "model")
    dense = [checkpoints.DenseLayer(in_features=32, out_features=16)]
    checkpoints.write_sentence_transformers(
        folder, pooling="cls", dense=dense, max_seq_length=48, prompts={"query": "query: "}
    )
    return folder


# --- what is told -----------------------------------------------------------------------------------------------------


def test_minilm_and_what_conflicts_in_it():
    found = facts(MINILM)
    assert (found["source"], found["architecture"]["name"], found["architecture"]["plugin"]) == (
        "package",
        "BertModel",
        "models",
    )
    assert found["converter"] is None
    assert [(task["name"], task["pooling"], task["pooling_from"]) for task in found["tasks"]] == [
        ("embed", "MEAN", "1_Pooling/config.json"),
        ("token_embed", "ALL", "the default of the task token_embed"),
    ]
    assert {(task["activation"], task["activation_from"]) for task in found["tasks"]} == {("normalize", "modules.json")}
    length = found["max_model_len"]
    assert (length["value"], length["from"]) == (256, "sentence_bert_config.json (max_seq_length)")
    assert [(it["value"], it["file"], it["counts"]) for it in length["stated"]] == [
        (256, "sentence_bert_config.json", True),
        (512, "config.json", False),
        (512, "tokenizer_config.json", False),
        (128, "tokenizer.json", False),
    ]
    assert found["tokenizer"]["padding"]["strategy"] == {"Fixed": 128}
    assert (found["embedding_size"], found["dense"], found["remote_code"]) == (384, [], [])
    assert found["dtype"] == {"value": "float32", "from": "the weights (embeddings.LayerNorm.bias)"}
    assert found["weights"]["parameters"] == 22_713_216
    assert found["weights"]["files"] == ["model.safetensors"]
    assert found["notes"] == [
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


def test_the_plugin_behind_every_component_is_named():
    found = {(it["kind"], it["name"]): it for it in facts(MINILM)["components"]}
    assert {key: it["plugin"] for key, it in found.items() if key[0] != "io_processor"} == {
        ("source", "package"): "sources",
        ("checkpoint_format", "sentence_transformers"): "formats",
        ("architecture", "BertModel"): "models",
        ("task", "embed"): "tasks",
        ("task", "token_embed"): "tasks",
        ("pooler", "MEAN"): "poolers",
        ("pooler", "ALL"): "poolers",
        ("activation", "normalize"): "poolers",
    }
    assert found["io_processor", "embed"]["plugin"] == "io_processors"
    assert {it["replaces"] for it in found.values()} == {None}
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
    told = inspect(folder).stdout
    assert "acme (millpond-acme 2.0): pooler CLS; activation tanh\n" in told
    assert "pooler CLS replaces poolers/CLS\n" in told


def test_it_is_told_without_torch():
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


def test_what_a_model_reads_is_told_where_it_is_more_than_text(folder, tmp_path):
    assert facts(folder)["modalities"] == ["text"]
    seeing = tiny_dual_encoder("CLIPModel", tmp_path / "clip")
    assert facts(seeing)["modalities"] == ["text", "image"]
    assert "modalities    text and image" in inspect(seeing).stdout


def test_dense_modules_prompts_and_similarity(folder):
    found = facts(folder)
    assert found["embedding_size"] == 16
    assert found["dense"] == [
        {
            "folder": "2_Dense",
            "in_features": 32,
            "out_features": 16,
            "activation": "torch.nn.modules.activation.Tanh",
        }
    ]
    assert found["prompts"] == {
        "named": {"query": "query: "},
        "from": {"query": "config_sentence_transformers.json"},
        "default": None,
        "include_prompt": True,
    }
    assert found["similarity"] == "cosine"
    told = inspect(folder).stdout
    assert "  dense         32 to 16, torch.nn.modules.activation.Tanh, from 2_Dense\n" in told
    assert "  prompts       query: 'query: '\n" in told


def test_ignored_settings_are_noted(folder):
    edit(folder / "config_sentence_transformers.json", default_prompt_name="query", similarity_fn_name="dot")
    edit(folder / "1_Pooling" / "config.json", include_prompt=False)
    notes = facts(folder)["notes"]
    assert any("specifies a default prompt 'query' ('query: '); it is only used with" in note for note in notes)
    assert any("similarity 'dot'" in note for note in notes)
    assert any(note.startswith("1_Pooling/config.json excludes prompts from pooling") for note in notes)
    assert any("48 is used" in note for note in notes)


def test_sparse_weights_are_not_normalised_and_compared_by_their_product(tmp_path):
    folder = tiny("BertForMaskedLM", tmp_path)
    write_sparse_encoder(folder)
    found = facts(folder)
    embed = next(task for task in found["tasks"] if task["name"] == "embed")
    assert (embed["pooling"], embed["pooling_from"]) == ("SPLADE_MAX", "1_SpladePooling/config.json")
    assert (embed["activation"], embed["activation_from"]) == (None, "the pooling type SPLADE_MAX")
    assert found["similarity"] == "dot"
    assert any(
        "'dot', from config_sentence_transformers.json; `similarity` always uses the cosine" in note
        for note in found["notes"]
    )


def test_weights_of_bge_m3_are_not_negative_and_no_probabilities(tmp_path):
    tasks = {task["name"]: task for task in facts(tiny_bge_m3(tmp_path))["tasks"]}
    assert tasks["token_classify"]["activation"] == "relu"
    assert tasks["token_embed"]["activation"] == "normalize"


def test_the_command_line_is_an_origin_too(folder):
    found = facts(
        folder,
        *("--max-model-len", 32, "--dtype", "bfloat16", "--pooler-config", '{"pooling_type": "MEAN"}'),
        *("--hf-overrides", '{"architectures": ["RobertaModel"]}'),
    )
    assert found["architecture"]["name"] == "RobertaModel"
    assert (found["max_model_len"]["value"], found["max_model_len"]["from"]) == (32, "the command line")
    assert found["dtype"] == {"value": "bfloat16", "from": "the command line"}
    assert (found["tasks"][0]["pooling"], found["tasks"][0]["pooling_from"]) == ("MEAN", "the command line")


def test_what_nothing_states_has_a_default(tmp_path):
    folder = checkpoints.tiny("BertModel", tmp_path / "plain", tokenizer=False)
    found = facts(folder)
    assert (found["tasks"][0]["pooling"], found["tasks"][0]["pooling_from"]) == ("CLS", "the architecture BertModel")
    assert found["tasks"][0]["activation_from"] == "the default of the task embed"
    assert found["tokenizer"]["file"] is None
    assert "tokenizer.json is missing: the model accepts token ids only, not texts" in found["notes"]


def test_a_model_that_reads_features_is_not_said_to_take_token_ids(tmp_path, install_plugin):
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


def test_each_setting_of_the_pooler_has_its_origin(folder):
    found = facts(folder, "--pooler-config", '{"use_activation": false, "enable_chunked_processing": true}')["pooler"]
    assert set(found) == set(PoolerConfig.model_fields)
    assert found["seq_pooling_type"] == {"value": "CLS", "from": "1_Pooling/config.json"}
    assert found["use_activation"] == {"value": False, "from": "the command line"}
    assert found["enable_chunked_processing"] == {"value": True, "from": "the command line"}
    assert found["chunk_renormalize"] == {"value": True, "from": "the default of Millpond"}
    assert found["tok_pooling_type"] == {"value": None, "from": "the default of Millpond"}
    told = inspect(folder).stdout
    assert '  pooler        seq_pooling_type: "CLS", from 1_Pooling/config.json\n' in told
    assert "                use_activation: true, from modules.json\n" in told
    assert "chunk_renormalize" not in told


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
    given = [] if overrides is None else ["--hf-overrides", overrides]
    found = facts(folder, *given)
    assert found["matryoshka"] == {"dimensions": dimensions, "from": origin}
    assert found["known"] == ({"is_matryoshka": True} if "_name_or_path" in config else {})
    sizes = ", ".join(map(str, dimensions)) if dimensions else "any smaller size"
    assert f"  matryoshka    {sizes}, from {origin}\n" in inspect(folder, *given).stdout


def test_classes_and_their_activation(tmp_path):
    folder = checkpoints.tiny("BertForSequenceClassification", tmp_path / "model", num_labels=3)
    edit(folder / "config.json", id2label={"0": "grief", "1": "joy", "2": "rage"})
    found = facts(folder)
    assert found["classes"] == {
        "num_labels": 3,
        "labels": ["grief", "joy", "rage"],
        "activation": "softmax",
        "activation_from": "the default for several classes",
    }
    assert found["embedding_size"] is None
    assert (found["tasks"][0]["name"], found["tasks"][0]["activation"]) == ("classify", "softmax")
    edit(folder / "config.json", problem_type="multi_label_classification")
    assert facts(folder)["classes"]["activation_from"] == "config.json (problem_type)"
    told = inspect(folder).stdout
    assert "  classes       3: grief, joy, rage; sigmoid, from config.json (problem_type)\n" in told
    off = facts(folder, "--pooler-config", '{"use_activation": false}')["tasks"][0]
    assert (off["activation"], off["activation_from"]) == (None, "the command line")


def test_a_cross_encoder_with_an_activation_of_sentence_transformers(tmp_path):
    folder = checkpoints.tiny("BertForSequenceClassification", tmp_path / "model", num_labels=1)
    assert facts(folder)["classes"]["activation_from"] == "the default for one score"
    edit(folder / "config.json", sbert_ce_default_activation_function="torch.nn.modules.linear.Identity")
    found = facts(folder)["classes"]
    assert (found["num_labels"], found["activation"]) == (1, "identity")
    assert found["activation_from"] == "config.json (sbert_ce_default_activation_function)"
    edit(folder / "config.json", sbert_ce_default_activation_function="os.system")
    assert "restricted to torch.nn.modules" in problem(folder)


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
    found = facts(folder)
    assert (found["architecture"]["name"], found["architecture"]["stated"]) == ("BertModel", ["BertForRewardModel"])
    assert found["converter"] == {
        "name": "gizmo",
        "plugin": "mine",
        "distribution": None,
        "tasks": ["token_classify"],
        "why": "for *ForRewardModel",
    }
    assert [task["name"] for task in found["tasks"]] == ["token_classify"]
    told = inspect(folder).stdout
    assert "                used for BertForRewardModel of config.json, which is in the same family\n" in told
    assert "  converter     gizmo, from the plugin mine, for *ForRewardModel: adds token_classify\n" in told


def test_a_language_model_is_told_with_its_converter(tmp_path):
    folder = checkpoints.tiny("LlamaForCausalLM", tmp_path / "model")
    found = facts(folder)
    assert (found["converter"]["name"], found["converter"]["why"]) == ("embed", "for *ForCausalLM")
    assert [task["name"] for task in found["tasks"]] == ["embed", "token_embed"]
    found = facts(folder, "--convert", "classify")
    assert (found["converter"]["name"], found["converter"]["why"]) == ("classify", "requested by the command line")
    assert found["tasks"][0]["pooling_from"] == "the default of the task classify"
    assert found["classes"]["num_labels"] == 2
    settings = {"model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.linear.Identity"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings), encoding="utf-8")
    edit(folder / "config.json", architectures=["LlamaModel"], num_labels=1)
    found = facts(folder)
    assert found["converter"]["why"] == "for config_sentence_transformers.json (model_type CrossEncoder)"
    assert found["classes"]["activation_from"] == "config_sentence_transformers.json (activation_fn)"


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
    found = facts(folder)
    assert [(code["file"], code["key"]) for code in found["remote_code"]] == [
        ("config.json", "auto_map.AutoModel"),
        ("tokenizer_config.json", "auto_map.AutoTokenizer"),
    ]
    assert "the files of the model specify custom code; it is not run" in found["notes"]
    assert "custom code   modeling_own.Model, specified in config.json (auto_map.AutoModel)" in inspect(folder).stdout


def test_shards_are_counted_together(tmp_path):
    whole = facts(checkpoints.tiny("BertModel", tmp_path / "whole"))["weights"]
    parts = facts(checkpoints.tiny("BertModel", tmp_path / "parts", shards=3))["weights"]
    assert parts["parameters"] == whole["parameters"] > 0
    assert len(parts["files"]) == 3


# --- what cannot be served --------------------------------------------------------------------------------------------


def problem(folder, *arguments):
    """The one problem of a folder."""
    found = facts(folder, *arguments, exit_code=1)
    (only,) = found["problems"]
    told = inspect(folder, *arguments)
    assert told.exit_code == 1
    assert f"{folder}: cannot be served\n" in told.stdout
    assert "\nProblems\n  - " in told.stdout
    return only


def test_an_architecture_that_nothing_serves(folder):
    edit(folder / "config.json", architectures=["GizmoModel"])
    assert "Unknown architecture 'GizmoModel'" in problem(folder)
    assert "architecture  GizmoModel (unknown: no plugin provides it)" in inspect(folder).stdout
    found = facts(folder, exit_code=1)
    assert found["tasks"] == []
    first = found["max_model_len"]["stated"][0]
    assert (first["value"], first["counts"]) == (48, False)
    assert found["weights"]["parameters"] > 0


def test_a_config_without_architectures(folder):
    edit(folder / "config.json", architectures=None, model_type=None)
    assert "needs a list 'architectures'" in problem(folder)


def test_an_unknown_pooling_mode(folder):
    edit(folder / "1_Pooling" / "config.json", pooling_mode="median")
    assert "unknown pooling mode 'median'. Available: cls" in problem(folder)


def test_a_pooling_type_that_no_plugin_brings(folder):
    assert "MEDIAN" in problem(folder, "--pooler-config", '{"seq_pooling_type": "CLS+MEDIAN"}')


def test_a_module_that_is_not_known(folder):
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    modules.append({"idx": 9, "name": "9", "path": "9_WordWeights", "type": "sentence_transformers.models.WordWeights"})
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    assert "WordWeights" in problem(folder)


def test_an_activation_that_is_not_known(folder):
    edit(folder / "2_Dense" / "config.json", activation_function="torch.nn.modules.activation.Wobble")
    assert "wobble" in problem(folder)


def test_missing_and_damaged_weights(folder):
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-10])
    assert "Download the model again" in problem(folder)
    weights.write_bytes(whole[:100])
    assert "its header cannot be read" in problem(folder)
    weights.unlink()
    assert "has no weights" in problem(folder)
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    assert "which require --allow-pickle" in problem(folder)
    assert facts(folder, "--allow-pickle")["weights"]["format"] == "pickle"


def test_missing_weights_of_a_dense_module(folder):
    (folder / "2_Dense" / "model.safetensors").unlink()
    assert "2_Dense has no weights" in problem(folder)


def test_a_missing_shard(tmp_path):
    folder = checkpoints.tiny("BertModel", tmp_path / "parts", shards=3)
    next(folder.glob("*-00002-*")).unlink()
    assert "names shards that are missing in" in problem(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json", "modules.json"])
def test_damaged_json(folder, name):
    (folder / name).write_text('{"half": ', encoding="utf-8")
    assert f"{name} is not valid JSON" in problem(folder)


def test_an_option_that_does_not_fit(folder):
    assert "max_model_len=100 exceeds the" in problem(folder, "--max-model-len", 100)


def test_a_folder_that_is_no_model(tmp_path):
    found = facts(tmp_path, exit_code=1)
    assert "has no config.json" in found["problems"][0]
    assert found["architecture"] is None


def test_a_model_that_is_nowhere():
    done = inspect("no/such-model")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("error: no source has the model 'no/such-model':\n")


def test_control_characters_of_a_checkpoint_do_not_reach_the_terminal(folder):
    edit(folder / "config_sentence_transformers.json", prompts={"\x1b[31mquery": "\x1b]0;title\x07"})
    done = inspect(folder)
    assert done.exit_code == 0
    assert "\x1b" not in done.stdout
    assert "\\x1b[31mquery" in done.stdout


def test_adapters_are_named(tmp_path):
    folder = checkpoints.tiny("XLMRobertaModel", tmp_path / "jina", position_embedding_type="rotary")
    names = ["retrieval.query", "retrieval.passage", "separation", "classification", "text-matching"]
    assert facts(folder)["adapters"] == names
    assert f"  adapters      {', '.join(names)}\n" in inspect(folder).stdout
    assert facts(checkpoints.tiny("BertModel", tmp_path / "bert"))["adapters"] is None
