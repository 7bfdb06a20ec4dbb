"""The pooling type of a plugin's task: its own, unless the user or a fitting checkpoint specifies another."""

from dataclasses import replace

import pytest
from odd_records import ACME

from millpond import LLM, CheckpointError
from millpond.loading.arguments import read_arguments
from millpond.plugin.specs import IOProcessorSpec, PoolerSpec, TaskSpec
from millpond.testing.checkpoints import tiny
from millpond.testing.sentence_transformers import write_sentence_transformers
from millpond_cli.inspect.resolved import model_file

TASK = TaskSpec(name="edge", target="millpond.types.outputs:EmbeddingOutput", io_processor="edge")


@pytest.fixture
def folder(tmp_path):
    """Write a tiny BERT whose files specify MEAN."""
    folder = tiny("BertModel", tmp_path / "bert")
    write_sentence_transformers(folder, pooling="mean")
    return str(folder)


@pytest.fixture
def plugins(plugin_manager):
    """Register a task "edge", which BERT serves, its IO processor and its pooler EDGE."""

    def plugins(default_pooling, pooler_tasks=("edge",)):
        registry = plugin_manager.registry
        bert = registry.architectures.get("BertModel").spec
        target = "millpond_io.tasks.embed:EmbedProcessor"
        pooler = "millpond_poolers.methods:FirstTokenPooling"
        registry.register(replace(TASK, default_pooling=default_pooling), ACME)
        registry.register(replace(bert, tasks=("embed", "edge")), ACME)
        registry.register(IOProcessorSpec(name="edge", target=target, tasks=("edge",)), ACME)
        registry.register(PoolerSpec(name="EDGE", target=pooler, tasks=pooler_tasks), ACME)
        return plugin_manager

    return plugins


@pytest.mark.parametrize(
    ("default_pooling", "pooler_config", "expected"),
    [
        ("EDGE", None, "EDGE"),
        ("MAX", None, "MAX"),
        (None, None, "MEAN"),
        ("EDGE", {"seq_pooling_type": "CLS"}, "CLS"),
    ],
)
def test_a_checkpoint_replaces_the_pooling_of_a_task_only_if_it_fits(
    folder, plugins, default_pooling, pooler_config, expected
):
    with LLM(folder, plugins=plugins(default_pooling), pooler_config=pooler_config, num_workers=1) as llm:
        assert llm.pipeline.ctx.pooling_type("edge") == expected
        assert llm.model_config.pooling_types["edge"] == expected
        assert (
            llm.pipeline.ctx.pooling_type("embed")
            == (pooler_config or {"seq_pooling_type": "MEAN"})["seq_pooling_type"]
        )
        assert len(llm.encode("a cat", pooling_task="edge", use_tqdm=False)) == 1


@pytest.mark.parametrize("pooler_config", [None, {"seq_pooling_type": "CLS"}])
def test_a_model_file_has_the_same_pooling_type_for_each_task(folder, plugins, pooler_config, tmp_path):
    manager, file = plugins("EDGE"), tmp_path / "model.toml"
    options = {"pooler_config": pooler_config}
    for _ in range(2):  # the second file is written from the first
        file.write_text(model_file(manager.registry, folder, read_arguments(options)))
        with LLM(folder, plugins=manager, **options) as llm, LLM(str(file), plugins=manager) as of_file:
            assert of_file.model_config.pooling_types == llm.model_config.pooling_types
        folder, options = str(file), {}
    with LLM(str(file), plugins=manager, pooler_config={"seq_pooling_type": "MAX"}) as llm:
        assert llm.model_config.pooling_types == {"embed": "MAX", "edge": "MAX"}
    file.write_text(file.read_text().replace("[model]", "[pooling_types]\nedgee = 'MEAN'\n[model]", 1))
    if pooler_config is not None:
        with pytest.raises(CheckpointError, match=r"line \d+: pooling_types: .*'edgee'"):
            LLM(str(file), plugins=manager)


def test_a_pooling_type_of_the_checkpoint_that_lists_the_task_is_used(folder, plugins):
    manager = plugins("EDGE")
    mean = manager.registry.poolers.get("MEAN").spec
    manager.registry.register(replace(mean, tasks=("embed", "edge")), ACME)
    with LLM(folder, plugins=manager, num_workers=1) as llm:
        assert llm.pipeline.ctx.pooling_type("edge") == "MEAN"
