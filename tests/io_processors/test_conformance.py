"""Conformance tests of the built-in IO processors."""

import json
from types import MappingProxyType

from millpond.plugin.manager import PluginManager
from millpond.testing.checkpoints import tiny
from millpond.testing.conformance import IOProcessorConformance
from millpond.types.params import PoolingParams
from millpond.types.prompts import ChunksCall, PairItem, ScoreCall
from millpond_io.chunking.options import TextInChunks
from millpond_models.testing.bge_m3 import tiny_bge_m3

BUILTIN = PluginManager(ranks=("builtin",), disabled=()).registry


def checkpoint_of(architecture, **overrides):
    """Write a tiny checkpoint of another architecture."""
    return lambda _, folder: tiny(architecture, folder, **overrides)


def late_interaction(_, folder):
    """Write a model of token vectors that encodes queries and documents differently."""
    tiny("BertModel", folder)
    config = {"model_type": "ColBERT", "query_prefix": "[unused0]", "document_prefix": "it is ", "query_length": 12}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


LONG_TEXT = "mill " * 150  # 150 tokens and two special ones; the model reads 64
CHUNKS = ChunksCall(["the old mill by the river", "a cup of tea", "no"], None, 4, 1, "naive")
SETTINGS = {
    "embed": {"chunked": [("a cup of tea", 1)]},
    "embed_chunks": {"call": CHUNKS, "chunked": [(TextInChunks("a cup of tea", None, 4, 0, "naive"), 2)]},
    "classify": {
        "checkpoint": checkpoint_of("BertForSequenceClassification", num_labels=3),
        "chunked": [("a cup of tea", 1)],
    },
    "entities": {
        "checkpoint": checkpoint_of("BertForTokenClassification", num_labels=3),
        "items": ["a cup of tea", "the old mill by the river", "no", {"prompt": "a"}],
        "chunked": [("a cup of tea", 1)],
        "refused": [[5, 6, 7]],
    },
    "embed_sparse": {
        "checkpoint": checkpoint_of("BertForMaskedLM"),
        "arguments": MappingProxyType({"pooler_config": {"pooling_type": "SPLADE_MAX"}}),
        "chunked": [("a cup of tea", 1)],
    },
    "bge_m3_sparse_plugin": {
        "checkpoint": lambda _, folder: tiny_bge_m3(folder),
        "items": ({"input": "a cup of tea"}, {"input": ["the old mill", "no"], "embed_task": "sparse"}),
        "chunked": [({"input": "a cup of tea"}, 1), ({"input": ["the old mill", "no"]}, 2)],
        "refused": ({"input": []}, {"input": "a", "embed_task": "colbert"}),
    },
    "colbert_query_plugin": {
        "checkpoint": late_interaction,
        "items": (
            {"input": "a cup of tea", "input_type": "query"},
            {"input": ["the old mill", "no"], "input_type": "document"},
        ),
        "chunked": [
            ({"input": "a cup of tea", "input_type": "query"}, 1),
            ({"input": ["the old mill", "no"], "input_type": "query"}, 2),
        ],
        "refused": ({"input": []}, {"input": "a"}, {"input": "a", "input_type": "passage"}),
    },
    "represent": {
        "params": PoolingParams(extra_kwargs={"representations": [{"task": "embed"}, {"task": "token_embed"}]}),
        "chunked": [("a cup of tea", 1)],
    },
    "score": {"call": ScoreCall(["a cup of tea", "no"], ["the old mill by the river", "a"]), "refused": ["text"]},
}

# One class for each registered IO processor, so that new ones are tested automatically.
for _entry in BUILTIN.io_processors.entries():
    _name = f"Test{_entry.spec.name.title().replace('_', '')}"
    _attributes = {"name": _entry.spec.name, **SETTINGS.get(_entry.spec.name, {})}
    globals()[_name] = type(_name, (IOProcessorConformance,), _attributes)


class TestEmbedLongTexts(IOProcessorConformance):
    """Texts over the model's maximum length, split into chunks."""

    name = "embed"
    tasks = ("embed",)
    arguments = MappingProxyType({"on_overflow": "chunk"})
    chunked = (("a cup of tea", 1), (LONG_TEXT, 3))


class TestEmbedSpansOfChunks(IOProcessorConformance):
    """Chunks that are spans of characters."""

    name = "embed_chunks"
    call = ChunksCall(["the old mill by the river", "a cup of tea"], [[(0, 12), (13, 25)], [(2, 5)]], None, 0, "late")


class TestScoreOfPairs(IOProcessorConformance):
    """With a cross-encoder, which reads both texts of a pair at once."""

    name = "score"
    call = ScoreCall(["a cup of tea", "no"], ["the old mill by the river", "a"])
    refused = ("text", PairItem(None, None))
    checkpoint = checkpoint_of("BertForSequenceClassification", num_labels=1)


def test_each_built_in_component_has_a_class(registry):
    classes = [value for value in globals().values() if isinstance(value, type)]
    tested = {one.name for one in classes if issubclass(one, IOProcessorConformance) and hasattr(one, "name")}
    assert tested == set(registry.io_processors.names())
    assert set(SETTINGS) <= tested
