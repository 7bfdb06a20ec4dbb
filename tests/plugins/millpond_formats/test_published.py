"""Published models by records of plugins: names, patterns, and what takes precedence over the record."""

import pytest

from millpond import LLM
from millpond.model.repository import Repository
from millpond.plugin.manager import PluginManager
from millpond.plugin.specs import PublishedModelSpec, RerankTemplate
from millpond.testing.checkpoints import tiny, write_sentence_transformers
from millpond_formats.transformers.published import published_model, rerank_template

TEMPLATE = RerankTemplate(
    pieces=("{document}", "? {query}", " {instruction}"),
    instruction="yes or no",
    instruction_form="({})",
    recognized_by={"model_type": "bert", "classifier_from_token": ["no", "on"]},
)


def model(name, **fields):
    return PublishedModelSpec(name=name, architecture="BertModel", **fields)


@pytest.fixture
def manager():
    return PluginManager(ranks=("builtin",), disabled=())


@pytest.fixture
def find(manager, tmp_path):
    """Return the published model that matches a tiny BERT in a folder of some name."""

    def find(folder, **config):
        path = tiny("BertModel", tmp_path / folder, **config)
        return published_model(Repository(folder, path, "path", plugins=manager.registry))

    return find


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("reef-embed-small", "reef/reef-embed-*"),
        ("REEF-embed-small", "reef/reef-embed-*"),
        ("reef-embed-large-v2", "coral/reef-embed-large*"),
        ("reef", None),
    ],
)
def test_the_longest_matching_pattern_is_used(manager, find, folder, name):
    for spec in (model("reef/reef-embed-*"), model("coral/reef-embed-large*"), model("coral/reef-e*")):
        manager.register(spec, "reef")
    match = find(folder)
    assert (None if match is None else match.name) == name


def test_a_record_for_another_architecture_does_not_apply(manager, find):
    manager.register(model("reef/reef-*", checkpoint_architecture="ReefModel"), "reef")
    assert find("reef-1") is None
    assert find("reef-2", architectures=["ReefModel"]) is not None


def test_a_plugin_replaces_the_record_of_a_built_in(manager, find):
    replacement = model("BAAI/bge-base-en-v1.5", config={"is_matryoshka": True})
    assert find("bge-base-en-v1.5").config == {}
    manager.register(replacement, "reef")
    assert find("bge-base-en-v1.5") == replacement


def test_files_and_callers_take_precedence(manager, tmp_path):
    record = model(
        "reef/reef-*",
        config={"pad_token_id": 7, "task_specific": "record", "other": "record"},
        prompts={"query": "record: ", "document": "record: "},
    )
    manager.register(record, "reef")
    folder = tiny("BertModel", tmp_path / "reef-1", task_specific="file")
    write_sentence_transformers(folder, prompts={"query": "file: "})
    with LLM(str(folder), plugins=manager, hf_overrides={"other": "caller"}, num_workers=1) as llm:
        config = llm.model_config
    assert (config.hf_config["task_specific"], config.hf_config["other"]) == ("file", "caller")
    assert config.hf_config["pad_token_id"] == 0
    assert config.prompting.prompts == {"query": "file: ", "document": "record: "}


def test_a_rerank_template_is_known_by_name_or_by_values_of_the_config(manager, tmp_path):
    manager.register(model("reef/reef-rerank*", rerank_template=TEMPLATE), "reef")
    by_value = {"classifier_from_token": ["no", "on"]}
    for folder, overrides in (("reef-rerank-1", {}), ("renamed", by_value), ("renamed", {})):
        path = tiny("BertForSequenceClassification", tmp_path / f"{folder}-{len(overrides)}")
        repository = Repository(path.name, path, "path", plugins=manager.registry)
        known = rerank_template(repository, repository.config.overridden(overrides))
        assert (known is TEMPLATE) == (folder != "renamed" or bool(overrides))


def test_a_rerank_template_is_filled():
    assert TEMPLATE.filled("mill", "river", None) == ("river", "? mill", " (yes or no)")
    assert TEMPLATE.filled("mill", "river", "say on") == ("river", "? mill", " (say on)")
