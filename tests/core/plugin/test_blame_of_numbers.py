"""NaN, outputs that cannot be written, and weights that do not fit are reported with plugin, kind and name."""

import json

import pytest
import torch
from torch import nn

from millpond import LLM, PoolingParams
from millpond.nn import Linear, Pooler, PoolingModel, WeightTransform
from millpond.plugin.manager import PluginManager
from millpond.plugin.specs import ArchitectureSpec, PoolerSpec, PoolingDefaults
from millpond.testing.checkpoints import random_tensors, tiny, write_config, write_weights
from millpond.types.errors import CheckpointError, NonFiniteOutputError
from millpond_models.encoders.bert.model import BertModel

PROMPTS = [[7], [7, 8, 9]]
LAYERS, WIDTH = 6, 8


class NotFinite(Pooler):
    """NaN for each sequence."""

    def pool(self, hidden_states, metadata):
        return torch.full((len(metadata.lengths), hidden_states.shape[1]), float("nan"))


class Overflows(BertModel):
    """Infinite hidden states where the token 9 is read."""

    def forward(self, batch):
        hidden = super().forward(batch)
        return torch.where(batch.input_ids[:, None] == 9, float("inf"), hidden)


class Bare(PoolingModel):
    """Has no parameters at all."""

    def forward(self, batch):
        return torch.zeros(batch.num_tokens, 32)


class Stacked(PoolingModel):
    """``num_hidden_layers`` linear layers, stored as one tensor."""

    weight_transforms = (WeightTransform.split(r"^stack$", tuple(f"layers.{n}.weight" for n in range(LAYERS))),)

    def __init__(self, ctx):
        super().__init__(ctx)
        maps = (Linear(ctx, WIDTH, WIDTH, bias=False) for _ in range(ctx.config.num_hidden_layers))
        self.layers = nn.ModuleList(maps)

    def forward(self, batch):
        hidden = torch.ones(batch.num_tokens, WIDTH)
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny BERT."""
    return str(tiny("BertModel", tmp_path_factory.mktemp("blame") / "bert"))


@pytest.fixture
def manager():
    """A manager with nothing but the built-ins, to which tests add records of the plugin "acme"."""
    return PluginManager(ranks=("builtin",), disabled=())


def asked(llm):
    """The output of each prompt, or its error."""
    return llm.encode(PROMPTS, PoolingParams(), pooling_task="embed", on_error="return", use_tqdm=False)


def test_a_pooler_that_returns_nan_is_named(folder, manager):
    manager.register(PoolerSpec(name="ODD", target=NotFinite, tasks=("embed",)), plugin="acme")
    with LLM(folder, plugins=manager, num_workers=1, pooler_config={"pooling_type": "ODD"}) as llm:
        for output in asked(llm):
            assert isinstance(output.error, NonFiniteOutputError)
            assert str(output.error).endswith("they come from pooler 'ODD' of plugin acme")


def test_a_model_that_returns_infinity_fails_only_those_prompts(folder, manager):
    manager.register(ArchitectureSpec(name="BertModel", target=Overflows, tasks=("embed",)), plugin="acme")
    manager.register(
        PoolerSpec(name="GOOD", target="millpond_poolers.methods:MeanPooling", tasks=("embed",)), plugin="b"
    )
    with LLM(folder, plugins=manager, num_workers=1, pooler_config={"pooling_type": "GOOD"}) as llm:
        first, second = asked(llm)
    assert first.error is None
    assert str(second.error).endswith("they come from architecture 'BertModel' of plugin acme")


def test_an_overriding_architecture_is_named_where_weights_do_not_fit(folder, manager):
    manager.register(ArchitectureSpec(name="BertModel", target=Bare, tasks=("embed",)), plugin="acme")
    with pytest.raises(CheckpointError, match="do not match architecture 'BertModel' of plugin acme"):
        LLM(folder, plugins=manager, num_workers=1)


def test_a_model_of_a_plugin_may_split_one_tensor_into_all_its_layers(tmp_path, manager):
    config = {"architectures": ["Stacked"], "num_hidden_layers": LAYERS, "hidden_size": WIDTH, "vocab_size": 16}
    write_config(tmp_path, {**config, "max_position_embeddings": 32})
    write_weights(tmp_path, random_tensors({"stack": (LAYERS * WIDTH, WIDTH)}))
    record = ArchitectureSpec(name="Stacked", target=Stacked, tasks=("embed",), pooling=PoolingDefaults("MEAN"))
    manager.register(record, plugin="acme")
    with LLM(str(tmp_path), plugins=manager, num_workers=1) as llm:
        assert [output.error for output in asked(llm)] == [None, None]
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 10**9}))
    with pytest.raises(CheckpointError, match=f"but the weights contain only {LAYERS * WIDTH * WIDTH} values"):
        LLM(str(tmp_path), plugins=manager, num_workers=1)
