"""Tiny checkpoints: equal to what transformers writes, completely random, and reproducible."""

import importlib
import json

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from millpond import UnknownNameError
from millpond.testing.checkpoints import random_tensors, tiny, vocabulary
from millpond_models.testing.decoders import DECODERS, decoder_shapes
from millpond_models.testing.tiny import FAMILY

ELSEWHERE = {
    "LlamaBidirectionalModel",
    "VoyageQwen3BidirectionalEmbedModel",
    "Lfm2BidirectionalModel",
}  # of other repositories' code
LEFT_OUT = ("pooler.", "embeddings.position_ids")


def shapes_of(tensors):
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


@pytest.fixture(scope="module")
def wanted():
    """The tensor shapes of transformers' model for the same files."""
    transformers = importlib.import_module("transformers")  # takes seconds, so only tests that need it import it

    def wanted(folder):
        config = transformers.AutoConfig.from_pretrained(folder)
        with torch.device("meta"):
            model = getattr(transformers, *config.architectures)(config)
        shapes = shapes_of(model.state_dict())
        if config.tie_word_embeddings:
            shapes.pop("lm_head.weight", None)
        return {name: shape for name, shape in shapes.items() if not name.startswith(LEFT_OUT)}

    return wanted


@pytest.mark.parametrize("architecture", sorted({*FAMILY} - ELSEWHERE))
def test_the_tensors_are_those_of_transformers(tmp_path, wanted, architecture):
    folder = tiny(architecture, tmp_path)
    assert shapes_of(load_file(folder / "model.safetensors")) == wanted(folder)


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("LlamaModel", {"attention_bias": True, "mlp_bias": True, "num_hidden_layers": 3}),
        ("LlamaModel", {"num_key_value_heads": None, "head_dim": 12}),
        ("MistralForCausalLM", {"tie_word_embeddings": True, "intermediate_size": 20}),
        ("Qwen2ForCausalLM", {"tie_word_embeddings": False, "hidden_size": 64}),
        ("Qwen3Model", {"head_dim": 32, "attention_bias": True}),
        ("GemmaModel", {"num_key_value_heads": 4, "vocab_size": 7}),
    ],
    ids=str,
)
def test_changes_of_the_config_change_the_tensors(tmp_path, wanted, architecture, changes):
    folder = tiny(architecture, tmp_path, tokenizer=False, **changes)
    assert shapes_of(load_file(folder / "model.safetensors")) == wanted(folder)


@pytest.mark.parametrize("architecture", FAMILY)
def test_every_parameter_is_random_and_the_same_at_every_run(tmp_path, architecture):
    first, second, third = (tiny(architecture, tmp_path / str(n), seed=n // 2) for n in range(3))
    for file in sorted(first.iterdir()):
        assert file.read_bytes() == (second / file.name).read_bytes()
    tensors, others = (load_file(folder / "model.safetensors") for folder in (first, third))
    for name, tensor in tensors.items():
        assert tensor.unique().numel() > tensor.numel() / 2, name
        assert not torch.equal(tensor, others[name]), name


@pytest.mark.parametrize("architecture", FAMILY)
def test_the_tokenizer_is_that_of_the_config(tmp_path, architecture):
    folder = tiny(architecture, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    encoded = Tokenizer.from_file(str(folder / "tokenizer.json")).encode("The old mill")
    assert config["vocab_size"] == len(vocabulary(FAMILY[architecture])) > max(encoded.ids)
    assert encoded.tokens[1:-1] == ["the", "old", "mill"]
    assert [encoded.ids[0], encoded.ids[-1]] == [config["bos_token_id"], config["eos_token_id"]]


def test_tiny_decoders_include_causal_language_models():
    assert {"LlamaModel", "MistralModel", "Qwen2Model", "Qwen3Model", "GemmaModel", "GemmaForCausalLM"} <= {*DECODERS}
    assert set(FAMILY) - {*DECODERS} == {"BertModel", "CamembertModel", "ErnieModel", "RobertaModel", "XLMRobertaModel"}


def test_a_config_that_does_not_tie_the_head_has_one():
    config = {
        "architectures": ["OddForCausalLM"],
        "vocab_size": 9,
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    assert decoder_shapes(config)["lm_head.weight"] == (9, 8)
    assert "lm_head.weight" not in decoder_shapes({**config, "tie_word_embeddings": True})


def test_an_unknown_architecture_is_refused_with_the_available_ones(tmp_path):
    with pytest.raises(UnknownNameError, match=r"'T5Model'. Available: .*BertModel, .*Qwen3Model.*random_tensors"):
        tiny("T5Model", tmp_path)


def test_matrices_preserve_scale_and_norms_are_around_one():
    tensors = random_tensors({"a.weight": (400, 300), "b.weight": (5000,), "b.bias": (5000,)})
    assert float(tensors["a.weight"].std()) == pytest.approx(300**-0.5, rel=0.05)
    assert float(tensors["b.weight"].mean()) == pytest.approx(1, abs=0.05)
    assert float(tensors["b.bias"].mean()) == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("architecture", ["BertModel", "CLIPModel", "Siglip2Model"])
def test_the_folder_may_be_a_string(architecture, tmp_path):
    folder = tiny(architecture, str(tmp_path / "model"))
    assert (folder / "config.json").is_file()
