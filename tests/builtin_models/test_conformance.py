"""Conformance tests of all built-in architectures and converters."""

import json
from functools import partialmethod
from types import MappingProxyType

import numpy as np
import pytest
from safetensors.torch import load_file

from millpond.plugin.manager import PluginManager
from millpond.testing.checkpoints import (
    random_tensors,
    tiny,
    vocabulary,
    write_config,
    write_tokenizer,
    write_weights,
)
from millpond.testing.conformance import ArchitectureConformance, ConverterConformance
from millpond_models.testing.bge_m3 import tiny_bge_m3
from millpond_models.testing.dual_encoders import tiny_dual_encoder
from millpond_models.testing.gritlm import tiny_gritlm
from millpond_models.testing.nemotron_vl import IMAGE_CONTEXT_ID, tiny_nemotron_vl
from millpond_models.testing.phi3_vision import tiny_phi3_vision

BUILTIN = PluginManager(ranks=("builtin",), disabled=()).registry


def checkpoint_of(architecture, **overrides):
    """Write a tiny checkpoint of another architecture."""
    return lambda _, folder: tiny(architecture, folder, **overrides)


def rewritten(architecture, name, change):
    """Write a tiny checkpoint of an architecture with a different name and modified tensors."""

    def write(_, folder):
        tiny(architecture, folder)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        write_config(folder, {**config, "architectures": [name]})
        write_weights(folder, change(load_file(folder / "model.safetensors")))
        return folder

    return write


def with_two_maps(labels):
    """Add the head of Qwen2's reward models: ``score.0`` and ``score.2``."""
    last = {"score.2.weight": (labels, 32), "score.2.bias": (labels,)}
    head = random_tensors({"score.0.weight": (32, 32), "score.0.bias": (32,), **last})
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if "score." not in name} | head


INTERNLM = (
    ("embed_tokens", "tok_embeddings"),
    ("self_attn.o_proj", "attention.wo"),
    ("input_layernorm", "attention_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "feed_forward.w1"),
    ("mlp.up_proj", "feed_forward.w3"),
    ("mlp.down_proj", "feed_forward.w2"),
)


def as_internlm(tensors):
    """Return Llama's tensors by InternLM2's names, with fused query, key and value."""
    shapes = {}
    for name, tensor in tensors.items():
        if "q_proj" in name:
            rows = tensor.shape[0] * 2  # four query heads share two key heads
            shapes[name.replace("self_attn.q_proj", "attention.wqkv")] = (rows, tensor.shape[1])
        elif "k_proj" not in name and "v_proj" not in name:
            new = next((name.replace(old, new) for old, new in INTERNLM if old in name), name)
            shapes[new] = tuple(tensor.shape)
    return random_tensors(shapes)


def as_internlm_reward(tensors):
    """Return the tensors of a reward model, whose head is ``v_head``."""
    named = {f"model.{name}": tensor for name, tensor in as_internlm(tensors).items()}
    return named | random_tensors({"v_head.weight": (1, 32)})


ARCHITECTURES = {
    # The tiny checkpoint has the published layout, which transformers cannot read; see test_nomic.py.
    **{f"NomicBert{head}": {"reference": lambda *_: None} for head in ("Model", "ForSequenceClassification")},
    "NomicBertForTokenClassification": {"reference": lambda *_: None},
    # Its model_type is that of BERT, so transformers would load BERT; see test_jinabert.py.
    **{name: {"reference": lambda *_: None} for name in ("JinaBertModel", "JinaBertForSequenceClassification")},
    "GritLM": {"checkpoint": lambda _, folder: tiny_gritlm(folder)},
    "InternLM2Model": {"checkpoint": rewritten("LlamaModel", "InternLM2Model", as_internlm)},
    "InternLM2ForRewardModel": {"checkpoint": rewritten("LlamaModel", "InternLM2ForRewardModel", as_internlm_reward)},
} | {
    name: {"checkpoint": rewritten("Qwen2ForSequenceClassification", name, with_two_maps(labels))}
    for name, labels in (("Qwen2ForRewardModel", 1), ("Qwen2ForProcessRewardModel", 2))
}


def static(_, folder):
    """Write an embedding table, with its size in config.json."""
    size = len(vocabulary())
    write_config(
        folder, {"architectures": ["StaticEmbedding"], "vocab_size": size, "hidden_size": 32, "seq_length": 64}
    )
    write_weights(folder, random_tensors({"embedding.weight": (size, 32)}))
    write_tokenizer(folder)
    return folder


ARCHITECTURES["StaticEmbedding"] = {"checkpoint": static}


def as_colbert(architecture, name, **settings):
    """Write an encoder with a projection of its tokens, with a different name."""

    def write(_, folder):
        tiny(architecture, folder, architectures=[name], dim=12, **settings)
        projection = random_tensors({"linear.weight": (12, 32)})
        write_weights(folder, load_file(folder / "model.safetensors") | projection)
        return folder

    return write


ROTARY = MappingProxyType({"position_embedding_type": "rotary"})
ARCHITECTURES |= {
    name: {"checkpoint": as_colbert(architecture, name, **settings)}
    for architecture, name, settings in (
        ("BertModel", "HF_ColBERT", {}),
        ("ModernBertModel", "ColBERTModernBertModel", {}),
        ("XLMRobertaModel", "ColBERTJinaRobertaModel", ROTARY),
        ("Lfm2Model", "ColBERTLfm2Model", {}),
    )
}
ARCHITECTURES["BertSpladeSparseEmbeddingModel"] = {
    "checkpoint": rewritten("BertForMaskedLM", "BertSpladeSparseEmbeddingModel", dict),
}


def texts_and_images(_, llm):
    """Token IDs, and images of mixed sizes."""
    random = np.random.default_rng(0)
    longest = llm.model_config.max_model_len
    texts = [random.integers(5, 90, size=length).tolist() for length in (7, 1, longest, 2)]
    images = [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((40, 30), (9, 50), (32, 32))]
    return [*texts, *({"multi_modal_data": {"image": image}} for image in images), [5]]


ARCHITECTURES |= {
    name: {
        "checkpoint": partialmethod(lambda _, folder, name: tiny_dual_encoder(name, folder), name=name),
        "prompts": texts_and_images,
        "reference": lambda *_: None,  # see test_dual_encoders.py
    }
    for name in ("CLIPModel", "SiglipModel", "Siglip2Model")
}


def texts_with_tiles(_, llm):
    """Token IDs without the image token, and texts with one or two images."""
    random = np.random.default_rng(0)
    ids = [
        random.integers(IMAGE_CONTEXT_ID + 1, 90, size=length).tolist()
        for length in (7, 1, llm.model_config.max_model_len)
    ]
    images = [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((40, 30), (9, 50), (70, 70))]
    both = {"prompt": "<image> and <image>", "multi_modal_data": {"image": images[:2]}}
    return [*ids, both, {"multi_modal_data": {"image": images[2]}}, [90]]


ARCHITECTURES["LlamaNemotronVLModel"] = {
    "checkpoint": lambda _, folder: tiny_nemotron_vl(folder),
    "prompts": texts_with_tiles,
    "reference": lambda *_: None,  # see test_nemotron_vl.py
}


def texts_with_marks(_, __):
    """Token IDs, and texts with images of mixed sizes."""
    random = np.random.default_rng(0)
    texts = [random.integers(5, 90, size=length).tolist() for length in (7, 1, 300, 2)]
    images = [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((40, 30), (9, 50), (32, 32))]
    prompts = [{"prompt": "see <|image_1|> there", "multi_modal_data": {"image": image}} for image in images]
    return [*texts, *prompts, [5]]


ARCHITECTURES["Phi3VForCausalLM"] = {
    "checkpoint": lambda _, folder: tiny_phi3_vision(folder),
    "prompts": texts_with_marks,
    "reference": lambda *_: None,  # see test_phi3_vision.py
}
ARCHITECTURES["BgeM3EmbeddingModel"] = {"checkpoint": lambda _, folder: tiny_bge_m3(folder)}
STEP = MappingProxyType({"pooling_type": "STEP", "step_tag_id": 7, "returned_token_ids": [5, 6]})
SPLADE = MappingProxyType({"pooling_type": "SPLADE_MAX"})
CONVERTERS = {
    "classify": {"checkpoint": checkpoint_of("LlamaForSequenceClassification")},
    "embed": {"checkpoint": checkpoint_of("Qwen3ForCausalLM")},
    "masked_lm": {"checkpoint": checkpoint_of("BertForMaskedLM")},
    "process_reward": {
        "checkpoint": checkpoint_of("LlamaForCausalLM"),
        "arguments": MappingProxyType({"pooler_config": STEP}),
    },
    "splade": {
        "checkpoint": checkpoint_of("BertForMaskedLM"),
        "arguments": MappingProxyType({"pooler_config": SPLADE}),
    },
}

# One class for each registered spec, so that new ones are tested automatically. For architectures that share a module,
# the first is a quick test and the others are slow tests. Fallbacks are tested in test_transformers.py.
_computed_by: dict[str, str] = {}
for _entry in BUILTIN.architectures.entries():
    _first = _computed_by.setdefault(_entry.spec.target.partition(":")[0], _entry.spec.name)
    _attributes = {"name": _entry.spec.name, **ARCHITECTURES.get(_entry.spec.name, {})}
    if _first != _entry.spec.name:
        _attributes["pytestmark"] = pytest.mark.slow
    globals()[f"Test{_entry.spec.name}"] = type(f"Test{_entry.spec.name}", (ArchitectureConformance,), _attributes)
for _entry in BUILTIN.converters.entries():
    _name = f"TestConverter{_entry.spec.name.title().replace('_', '')}"
    _attributes = {"name": _entry.spec.name, **CONVERTERS.get(_entry.spec.name, {})}
    globals()[_name] = type(_name, (ConverterConformance,), _attributes)


def test_each_built_in_component_has_a_class(registry):
    classes = [value for value in globals().values() if isinstance(value, type) and hasattr(value, "name")]
    for kind, conformance in (("architecture", ArchitectureConformance), ("converter", ConverterConformance)):
        tested = {one.name for one in classes if issubclass(one, conformance)}
        entries = registry.catalog(kind).entries()
        assert tested == {one.spec.name for one in entries}
    assert set(ARCHITECTURES) <= set(registry.architectures.names())
    assert set(CONVERTERS) <= set(registry.converters.names())
