"""Checkpoint formats and modules of plugins: selection, precedence, and errors."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from millpond import LLM, PoolingParams, model
from millpond.loading.components import components
from millpond.model.layers import Layer, Layers
from millpond.model.options import LoadOptions
from millpond.model.repository import Repository
from millpond.model.resolve import read_layers
from millpond.model.spec import ModuleSettings
from millpond.nn import TokenModule
from millpond.plugin.manager import PluginManager
from millpond.plugin.specs import CheckpointFormatSpec, ModuleSpec
from millpond.testing.checkpoints import tiny, write_sentence_transformers
from millpond.types.errors import CheckpointError, ComponentError, UnknownNameError

TEXT = "the old mill"
POOLING, PROMPTS = "pooler_config.seq_pooling_type", "prompting.prompts"


@pytest.fixture
def manager():
    return PluginManager()


@pytest.fixture
def folder(tmp_path):
    path = tiny("BertModel", tmp_path / "model")
    write_sentence_transformers(path, pooling="mean", prompts={"query": "find: "})
    path.joinpath("reef.json").write_text("{}")
    return path


def reading(name, values, **fields):
    """Return the record of a format whose file always states the same values."""
    layer = Layer("reef.json", values)
    return CheckpointFormatSpec(name=name, target=lambda repository: [layer], **{"files": ("reef.json",), **fields})


def pooling(value):
    return {POOLING: value}


def layers_of(manager, folder):
    return Repository("model", folder, "path", plugins=manager.registry).layers


def test_each_value_comes_from_the_format_with_the_highest_priority(manager, folder):
    manager.register(reading("low", pooling("LAST"), priority=1), "reef")
    assert layers_of(manager, folder).get(POOLING) == "MEAN"
    manager.register(reading("high", pooling("MAX"), priority=99), "reef")
    layers = layers_of(manager, folder)
    assert (layers.get(POOLING), layers.origin(POOLING)) == ("MAX", "reef.json")
    assert layers.get(PROMPTS) == {"query": "find: "}, "what it does not state is left to the others"


def test_a_format_without_its_files_is_not_called(manager, folder):
    manager.register(reading("high", pooling("MAX"), files=("other.json", "*/other.json"), priority=99), "reef")
    assert layers_of(manager, folder).get(POOLING) == "MEAN"
    folder.joinpath("1_Pooling", "other.json").write_text("{}")
    assert layers_of(manager, folder).get(POOLING) == "MAX"


def test_precedence_is_user_then_files_then_architecture(manager, folder):
    manager.register(reading("high", pooling("MAX"), priority=99), "reef")
    with LLM(str(folder), plugins=manager) as llm:
        assert llm.model_config.pooler_config.seq_pooling_type == "MAX"
    with LLM(str(folder), plugins=manager, pooler_config={"pooling_type": "LAST"}) as llm:
        assert llm.model_config.pooler_config.seq_pooling_type == "LAST"


def test_without_formats_no_model_is_read(folder):
    plain = PluginManager(disabled=("formats",))
    assert layers_of(plain, folder) == Layers()
    with pytest.raises(UnknownNameError, match=r"enable the plugin 'formats'. Available checkpoint formats: none"):
        LLM(str(folder), plugins=plain)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (lambda repository: 1 / 0, r"checkpoint format 'odd' of plugin reef failed to read the checkpoint: ZeroDiv"),
        (lambda repository: 3, r"failed to read the checkpoint: TypeError: 'int' object is not iterable"),
        (lambda repository: {"pooling": "MAX"}, r"it returned 'pooling'; expected Layer\(name, values\)"),
        (
            lambda repository: [Layer("reef.json", {"embedding.normalises": True})],
            r"the unknown path 'embedding\.normalises' in reef\.json; did you mean 'embedding\.normalizes'\?",
        ),
        (
            lambda repository: [Layer("reef.json", {POOLING: ("MAX",)})],
            r"pooler_config\.seq_pooling_type stated as \('MAX',\) in reef\.json: input should be a valid string",
        ),
        (
            lambda repository: [Layer("reef.json", {PROMPTS: 3}, {PROMPTS: "texts"})],
            r"prompting\.prompts stated as 3 in reef\.json \(texts\): input should be a valid dictionary",
        ),
        (
            lambda repository: [Layer("reef.json", {PROMPTS: {"query": None}})],
            r"prompting\.prompts stated as \{'query': None\} in reef\.json: input should be a valid string",
        ),
        (
            lambda repository: [Layer("reef.json", {"embedding.truncate_dim": True})],
            r"embedding\.truncate_dim stated as True in reef\.json: input should be a valid integer",
        ),
    ],
)
def test_a_format_that_fails_is_named(manager, folder, target, message):
    manager.register(CheckpointFormatSpec(name="odd", target=target, files=("reef.json",)), "reef")
    with pytest.raises(ComponentError, match=message):
        LLM(str(folder), plugins=manager)


@pytest.mark.parametrize("name", ["/etc/passwd", ""])
def test_a_format_whose_files_cannot_be_matched_is_named(manager, folder, name):
    manager.register(CheckpointFormatSpec(name="odd", target=print, files=(name,)), "reef")
    with pytest.raises(
        ComponentError,
        match=f"'odd' of plugin reef has files={(name,)!r}, which cannot be matched".replace("(", r"\(").replace(
            ")", r"\)"
        ),
    ):
        LLM(str(folder), plugins=manager)


def with_module(folder, position, kind="reef_net.Odd", config=None, **tensors):
    """Add a module to modules.json, before Pooling or at the end; returns the folder."""
    listed = json.loads(folder.joinpath("modules.json").read_text())
    listed.insert(1 if position == "before" else 2, {"name": "odd", "path": "odd", "type": kind})
    lines = [{**line, "idx": number} for number, line in enumerate(listed)]
    folder.joinpath("modules.json").write_text(json.dumps(lines))
    folder.joinpath("odd").mkdir()
    folder.joinpath("odd", "config.json").write_text(json.dumps(config or {}))
    if tensors:
        save_file(tensors, folder / "odd" / "model.safetensors")
    return folder


def test_a_module_that_no_plugin_builds_is_refused_with_the_hook_that_adds_one(manager, folder):
    with pytest.raises(
        CheckpointError, match=r"module reef_net\.Odd after Pooling.* provides it with register_modules"
    ):
        LLM(str(with_module(folder, "after")), plugins=manager)


def test_a_module_is_built_only_where_its_record_places_it(manager, folder):
    manager.register(ModuleSpec(name="reef_net.Odd", target=lambda *_: nn.Identity(), places=("before",)), "reef")
    with pytest.raises(CheckpointError, match=r"unsupported module reef_net\.Odd after Pooling"):
        LLM(str(with_module(folder, "after")), plugins=manager)


def vector(folder, manager):
    with LLM(str(folder), plugins=manager) as llm:
        return llm.embed(TEXT, use_tqdm=False)[0].outputs.array, llm.model_config


class Half(nn.Module):
    """Returns the first half of each vector, scaled by its own parameters."""

    def __init__(self, ctx, config, weights):
        super().__init__()
        self.in_features, self.out_features = config["in_features"], config["out_features"]
        self.scale = nn.Parameter(weights.get("scale", [self.out_features]), requires_grad=False)

    def forward(self, x):
        return x[..., : self.out_features] * self.scale


def test_a_module_after_pooling_has_weights_and_decides_the_dimensions(manager, folder):
    plain, _ = vector(folder, manager)
    manager.register(ModuleSpec(name="reef_net.Odd", target=Half), "reef")
    scale = torch.arange(1.0, 17.0)
    with_module(folder, "after", config={"in_features": 32, "out_features": 16}, scale=scale)
    actual, config = vector(folder, manager)
    assert config.embedding_size == 16
    expected = plain[:16] * scale.numpy()
    np.testing.assert_allclose(actual, expected / np.linalg.norm(expected), rtol=1e-5)


def test_a_module_that_takes_other_dimensions_is_refused(manager, folder):
    manager.register(ModuleSpec(name="reef_net.Odd", target=Half), "reef")
    manager.register(reading("chain", chain(folder, (32, 16), (32, 16)), priority=99), "reef")
    with pytest.raises(CheckpointError, match=r"expects 32 dimensions, .* returns 16"):
        LLM(str(folder), plugins=manager)


def chain(folder, *sizes):
    modules = []
    for number, (taken, returned) in enumerate(sizes):
        home = folder / f"half_{number}"
        home.mkdir()
        save_file({"scale": torch.ones(returned)}, home / "model.safetensors")
        config = {"in_features": taken, "out_features": returned}
        modules.append(ModuleSettings(type="reef_net.Odd", path=home, config=config))
    return {"modules.listed": tuple(modules), "modules.after": tuple(modules)}


class FromFirst(TokenModule):
    """Subtracts the first token of its text from each token."""

    def __init__(self, ctx, config, weights):
        super().__init__()
        self.attached = []

    def attach(self, model):
        self.attached.append(type(model).__name__)

    def forward(self, hidden_states, batch):
        assert self.attached == ["BertModel"]
        return torch.cat([rows - rows[0] for rows in hidden_states.split(list(batch.lengths))])


def test_a_module_before_pooling_reads_texts_one_by_one_and_sees_the_model(manager, folder):
    manager.register(ModuleSpec(name="reef_net.Odd", target=FromFirst, places=("before",)), "reef")
    with LLM(str(folder), plugins=manager) as llm:
        params = PoolingParams(use_activation=False)
        tokens = [o.outputs.data.numpy() for o in llm.encode([TEXT, "snow"], params, pooling_task="token_embed")]
    with_module(folder, "before")
    with LLM(str(folder), plugins=manager) as llm:
        vectors = [output.outputs.array for output in llm.embed([TEXT, "snow"], use_tqdm=False)]
    for rows, row in zip(tokens, vectors, strict=True):
        mean = (rows - rows[0]).mean(axis=0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), rtol=1e-4, atol=1e-6)


def test_a_target_that_builds_no_module_is_named(manager, folder):
    manager.register(ModuleSpec(name="reef_net.Odd", target=lambda ctx, config, weights: "gate"), "reef")
    with pytest.raises(ComponentError, match=r"returned a str; expected a torch\.nn\.Module"):
        LLM(str(with_module(folder, "after")), plugins=manager)


def test_prompts_of_a_format_are_named_prompts_of_the_model(manager, folder):
    manager.register(reading("high", {PROMPTS: {"passage": "text: "}}, priority=99), "reef")
    with LLM(str(folder), plugins=manager) as llm:
        assert llm.model_config.prompting.prompts == {"passage": "text: ", "query": "find: "}
        whole, prompted = llm.embed("text: mill"), llm.embed("mill", prompt_name="passage")
    np.testing.assert_allclose(whole[0].outputs.array, prompted[0].outputs.array, rtol=1e-6)


def test_formats_and_modules_are_components_of_the_model(manager, folder):
    manager.register(ModuleSpec(name="Normalize", target=lambda ctx, config, weights: nn.Identity()), "reef")
    manager.register(ModuleSpec(name="reef_net.Odd", target=Half), "reef")
    manager.register(reading("chain", chain(folder, (32, 16)), priority=99), "reef")
    registry = manager.registry
    layers = read_layers(registry, Repository("model", folder, "path"), LoadOptions())
    labels = {entry.label.partition(" of plugin")[0] for _, entry in components(layers)}
    assert {"checkpoint format 'chain'", "checkpoint format 'sentence_transformers'", "module 'reef_net.Odd'"} <= labels
    assert not any(name in labels for name in ("checkpoint format 'peft'", "module 'Normalize'"))


NAMES = ("modules.json", "config_sentence", "sentence_bert", "artifact.metadata", "StaticModel", "SparseAutoEncoder")


def test_loading_names_no_file_or_module_of_a_format():
    folder = Path(model.__file__).parent
    named = [(path.name, name) for path in folder.glob("*.py") for name in NAMES if name in path.read_text("utf-8")]
    assert named == []
