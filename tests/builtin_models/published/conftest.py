"""Fixtures that match the tensors of published checkpoints with the parameters of the models that load them.

Nothing is downloaded, and nothing has memory: shapes are those of the published config.json, names those of the class
in transformers that wrote the files, or of the code in their repository, with the additional tensors of old files.
"""

from dataclasses import replace

import pytest
import torch

from millpond.context import Context
from millpond.model.options import LoadOptions
from millpond.model.resolve import read_layers
from millpond.model.source import SourceOptions, find_repository
from millpond.plugin.manager import PluginManager
from millpond.testing.checkpoints import write_config
from millpond.types.config import PoolerConfig
from millpond_models.testing.gritlm import tiny_gritlm

REGISTRY = PluginManager(ranks=("builtin",), disabled=()).registry


def load_options(options):
    return LoadOptions(**{**options, "pooler_config": PoolerConfig.parse(options["pooler_config"])})


def without_values(model, loaded):
    """Return the parameters, and shards of fused parameters, that were not loaded."""
    missing = []
    for path, _ in model.named_parameters():
        shards = getattr(model.get_submodule(path.rpartition(".")[0]), "shards", ())
        fused = [f"{path}@{number}" for number in range(len(shards))]
        if path not in loaded and (not fused or not loaded.issuperset(fused)):
            missing.append(path)
    return missing


@pytest.fixture(scope="session")
def built():
    """Return the model for a config.json, without memory, with its unused tensors and missing parameters."""

    def built(folder, model):
        repository = find_repository(REGISTRY, str(folder), SourceOptions())
        options = {"pooler_config": None, **model.options}
        layers = read_layers(REGISTRY, repository, load_options(options))
        ctx = Context(
            registry=REGISTRY,
            model=layers.model,
            config=layers.config,
            device=torch.device("cpu"),
            dtype=torch.float32,
            tokenizer=repository.reader.tokenizer(layers.model.text),
        )
        model_class = layers.architecture.load()
        if layers.converter is not None:
            model_class = layers.converter.load()(model_class, ctx)
        with torch.device("meta"):
            module = model_class(ctx)
        module.ctx = replace(module.ctx, device=torch.device("meta"))
        loaded = module.load_weights(model.tensors())
        return module, loaded.unused, without_values(module, loaded.names)

    return built


@pytest.fixture
def check(tmp_path, monkeypatch, built):
    """Check that tensors and parameters match, and that updates by adapters have the right shapes."""
    changed = []
    monkeypatch.setattr(
        "millpond_models.encoders.jina_v3.model.with_updates", lambda _, changes, ctx: changed.append(changes)
    )

    def check(name, model):
        folder = tmp_path / name.rpartition("/")[2]
        if model.architecture == "GritLM":  # it needs the tokens of its marker
            tiny_gritlm(folder)
            (folder / "model.safetensors").unlink()
        stated = {key: value for key, value in model.config.items() if value is not None}
        write_config(folder, {"architectures": [model.architecture], **stated})
        module, unused, missing = built(folder, model)
        assert (unused, missing) == ([], [])
        assert bool(changed) is (name == "jinaai/jina-embeddings-v3")
        for path, (up, down) in (item for changes in changed for item in changes.items()):
            assert module.get_submodule(path).weight.shape == (len(up), down.shape[1])

    return check
