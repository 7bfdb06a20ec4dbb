"""BertModel: equal to transformers on random tiny weights in any batch; variants and errors of its files."""

import json
import re
from functools import partial

import numpy as np
import pytest
import torch
from model_kit import max_difference
from safetensors.torch import load_file

from millpond import CheckpointError, InvalidInputError
from millpond.testing.checkpoints import tiny, vocabulary
from millpond.testing.comparisons import random_prompts, rewrite

VOCABULARY = len(vocabulary("bert"))
prompts_of = partial(random_prompts, VOCABULARY)
LONGEST = 64
LENGTHS = (1, 2, 3, 64, 5, 8, 63, 13, 1, 21, 34, 47, 2, 64, 30, 7)


@pytest.fixture
def checkpoint(tmp_path):
    return tiny("BertModel", tmp_path / "bert")


# --- equal to transformers ------------------------------------------------------------------------------------------


def test_a_batch_of_mixed_lengths_equals_transformers(checkpoint, load, hidden, reference):
    prompts = prompts_of(LENGTHS)
    assert max_difference(hidden(load(checkpoint), prompts), reference(checkpoint, prompts)) <= 1e-5


def test_every_length_alone_equals_transformers(checkpoint, load, hidden, reference):
    llm = load(checkpoint)
    prompts = prompts_of(range(1, LONGEST + 1, 7), seed=1)
    assert len(prompts[-1]) == LONGEST
    actual = [hidden(llm, prompt)[0] for prompt in prompts]
    assert max_difference(actual, reference(checkpoint, prompts)) <= 1e-5


def test_batch_and_order_do_not_matter(checkpoint, load, hidden):
    llm = load(checkpoint)
    prompts = prompts_of(LENGTHS, seed=2)
    alone = [hidden(llm, prompt)[0] for prompt in prompts]
    assert max_difference(hidden(llm, prompts), alone) <= 1e-5
    assert max_difference(hidden(llm, prompts[::-1]), alone[::-1]) <= 1e-5


def test_batches_of_few_tokens_change_nothing(checkpoint, load, hidden):
    prompts = prompts_of(LENGTHS, seed=3)
    expected = hidden(load(checkpoint), prompts)
    actual = hidden(load(checkpoint, max_num_batched_tokens=17, max_num_seqs=2), prompts)
    assert max_difference(actual, expected) <= 1e-5


@pytest.mark.parametrize(
    "shape",
    [
        {"num_hidden_layers": 1},
        {"num_hidden_layers": 3, "num_attention_heads": 1},
        {"num_attention_heads": 32},
        {"hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 7},
        {"layer_norm_eps": 0.1},
        {"type_vocab_size": 1},
        {"max_position_embeddings": 80},
    ],
    ids=str,
)
def test_the_shape_in_config_json_is_used(tmp_path, load, hidden, reference, shape):
    folder = tiny("BertModel", tmp_path, **shape)
    prompts = prompts_of((1, 9, 30))
    assert max_difference(hidden(load(folder), prompts), reference(folder, prompts)) <= 1e-5


ACTIVATIONS = (
    *("gelu", "gelu_python", "gelu_new", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh", "gelu_python_tanh"),
    *("quick_gelu", "relu", "relu6", "leaky_relu", "mish", "sigmoid", "silu", "swish", "tanh"),
)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_hidden_activation_equals_that_of_transformers(tmp_path, load, hidden, reference, name):
    folder = tiny("BertModel", tmp_path, hidden_act=name)
    prompts = prompts_of((3, 11))
    expected = reference(folder, prompts)
    assert max_difference(hidden(load(folder), prompts), expected) <= 1e-5
    llm = load(folder, batch_invariant=True)
    together = hidden(llm, prompts)
    assert max_difference(together, expected) <= 1e-5
    assert all(np.array_equal(one, hidden(llm, [ids])[0]) for one, ids in zip(together, prompts, strict=True))


def test_bfloat16_is_near_transformers(checkpoint, load, hidden, reference):
    prompts = prompts_of(LENGTHS)
    llm = load(checkpoint, dtype="bfloat16")
    assert llm.model_config.dtype == "bfloat16"
    actual = hidden(llm, prompts)
    exact = reference(checkpoint, prompts)
    scale = max(float(np.abs(rows).max()) for rows in exact)
    theirs = max_difference(reference(checkpoint, prompts, dtype=torch.bfloat16), exact) / scale
    assert 0 < max_difference(actual, exact) / scale <= 2e-2
    assert theirs > 0  # the reference is in bfloat16 too
    assert max_difference(actual, reference(checkpoint, prompts, dtype=torch.bfloat16)) / scale <= 2e-2


def test_float16_is_used_on_request(checkpoint, load, hidden, reference):
    prompts = prompts_of((1, 20, 64))
    llm = load(checkpoint, dtype="half")
    assert llm.model_config.dtype == "float16"
    assert 0 < max_difference(hidden(llm, prompts), reference(checkpoint, prompts)) <= 2e-2


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_16_bit_checkpoint_is_computed_without_further_loss(tmp_path, load, hidden, reference, dtype):
    folder = tiny("BertModel", tmp_path, dtype=dtype)
    prompts = prompts_of((1, 20, 64))
    llm = load(folder)
    tolerance = 1e-5 if llm.model_config.dtype == "float32" else 5e-2
    assert llm.model_config.dtype in ("float32", dtype)
    assert max_difference(hidden(llm, prompts), reference(folder, prompts)) <= tolerance


# --- the longest ----------------------------------------------------------------------------------------------------


def test_the_maximum_length_is_the_number_of_positions(checkpoint, load, hidden):
    llm = load(checkpoint)
    assert llm.model_config.max_model_len == LONGEST
    assert hidden(llm, prompts_of([LONGEST]))[0].shape == (LONGEST, 32)
    with pytest.raises(InvalidInputError, match=r"maximum context length is 64 tokens.*65"):
        hidden(llm, prompts_of([LONGEST + 1]))


# --- names in the checkpoint ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["bert.", "model."])
def test_a_prefix_before_every_name_changes_nothing(tmp_path, checkpoint, load, hidden, prefix):
    prompts = prompts_of((2, 17))
    prefixed = tiny("BertModel", tmp_path / "prefixed", prefix=prefix)
    assert all(name.startswith(prefix) for name in load_file(prefixed / "model.safetensors"))
    assert max_difference(hidden(load(prefixed), prompts), hidden(load(checkpoint), prompts)) == 0


def test_gamma_and_beta_are_weight_and_bias_of_norms(checkpoint, load, hidden):
    prompts = prompts_of((2, 17))
    expected = hidden(load(checkpoint), prompts)

    def to_old(tensors):
        return {
            re.sub(r"LayerNorm\.bias$", "LayerNorm.beta", re.sub(r"LayerNorm\.weight$", "LayerNorm.gamma", name)): value
            for name, value in tensors.items()
        }

    rewrite(checkpoint, to_old)
    names = list(load_file(checkpoint / "model.safetensors"))
    assert sum(name.endswith(("gamma", "beta")) for name in names) == 10
    assert max_difference(hidden(load(checkpoint), prompts), expected) == 0


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_weights_of_other_heads_are_left_out(tmp_path, load, hidden, prefix):
    folder = tiny("BertModel", tmp_path, prefix=prefix)
    prompts = prompts_of((2, 17))
    expected = hidden(load(folder), prompts)
    others = {
        f"{prefix}pooler.dense.weight": torch.ones(32, 32),
        f"{prefix}pooler.dense.bias": torch.ones(32),
        f"{prefix}embeddings.position_ids": torch.arange(64).unsqueeze(0),
        "cls.predictions.bias": torch.ones(VOCABULARY),
        "cls.predictions.transform.LayerNorm.gamma": torch.ones(32),
        "cls.seq_relationship.weight": torch.ones(2, 32),
    }
    rewrite(folder, lambda tensors: tensors | others)
    assert max_difference(hidden(load(folder), prompts), expected) == 0


@pytest.mark.parametrize("shards", [2, 5])
def test_shards_change_nothing(tmp_path, checkpoint, load, hidden, shards):
    prompts = prompts_of((2, 17))
    folder = tiny("BertModel", tmp_path / "sharded", shards=shards)
    assert len(list(folder.glob("*.safetensors"))) == shards
    assert max_difference(hidden(load(folder), prompts), hidden(load(checkpoint), prompts)) == 0


def test_checkpoints_saved_by_transformers_are_loaded(tmp_path, load, hidden, transformers):
    torch.manual_seed(4)
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, pad_token_id=0
    )
    model = transformers.BertModel(config).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(tmp_path)
    assert "pooler.dense.weight" in load_file(tmp_path / "model.safetensors")
    prompt = list(range(1, 50, 3))
    llm = load(tmp_path)
    assert llm.model_config.max_model_len == 512
    with torch.inference_mode():
        expected = model(torch.tensor([prompt])).last_hidden_state[0].numpy()
    assert np.abs(hidden(llm, prompt)[0] - expected).max() <= 1e-5


def test_the_encoder_of_a_masked_language_model_is_loaded_on_request(tmp_path, load, hidden, transformers):
    torch.manual_seed(5)
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48, pad_token_id=0
    )
    model = transformers.BertForMaskedLM(config).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(tmp_path)
    assert any(name.startswith("cls.") for name in load_file(tmp_path / "model.safetensors"))
    llm = load(tmp_path, hf_overrides={"architectures": ["BertModel"]})
    with torch.inference_mode():
        expected = model.bert(torch.tensor([[7, 8, 9]])).last_hidden_state[0].numpy()
    assert np.abs(hidden(llm, [7, 8, 9])[0] - expected).max() <= 1e-5


# --- invalid checkpoints --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("embeddings.position_embeddings.weight", r"embeddings\.position_embeddings\.weight"),
        ("embeddings.LayerNorm.bias", r"embeddings\.norm\.bias"),
        ("encoder.layer.1.attention.self.key.weight", r"layers\.1\.attention\.qkv\.weight@1"),
        ("encoder.layer.1.attention.self.value.bias", r"layers\.1\.attention\.qkv\.bias@2"),
        ("encoder.layer.0.output.dense.bias", r"layers\.0\.feed_forward\.down\.bias"),
    ],
)
def test_a_missing_weight_is_named(checkpoint, load, name, message):
    rewrite(checkpoint, lambda tensors: {key: value for key, value in tensors.items() if key != name})
    with pytest.raises(CheckpointError, match=rf"architecture 'BertModel': missing \(1\): {message}$"):
        load(checkpoint)


def test_all_of_a_fused_weight_missing_is_named(checkpoint, load):
    rewrite(checkpoint, lambda tensors: {k: v for k, v in tensors.items() if ".1.attention.self." not in k})
    with pytest.raises(CheckpointError, match=r"missing \(2\): layers\.1\.attention\.qkv\.weight, .*\.qkv\.bias$"):
        load(checkpoint)


@pytest.mark.parametrize(
    "name",
    [
        "encoder.layer.2.output.dense.weight",
        "encoder.layer.0.attention.self.gate.weight",
        "adapter.down.weight",
        "embeddings",
        "encoder.layer.0.attention.self.query",
    ],
)
def test_an_extra_weight_is_named(checkpoint, load, name):
    rewrite(checkpoint, lambda tensors: tensors | {name: torch.ones(32, 32)})
    with pytest.raises(CheckpointError, match=rf"unused \(1\): {re.escape(name)}$"):
        load(checkpoint)


def test_many_missing_and_extra_weights_are_counted(checkpoint, load):
    rewrite(checkpoint, lambda tensors: {f"transformer.{name}": value for name, value in tensors.items()})
    with pytest.raises(CheckpointError, match=r"missing \(29\): .* and 21 more; unused \(37\): .* and 29 more$"):
        load(checkpoint)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("embeddings.word_embeddings.weight", (9, 32), r"\[9, 32\]"),
        ("encoder.layer.0.attention.self.query.weight", (32, 16), r"\[32, 16\]"),
        ("encoder.layer.0.attention.self.query.bias", (33,), r"\[33\]"),
        ("encoder.layer.0.intermediate.dense.weight", (32, 48), r"\[32, 48\]"),
        ("embeddings.LayerNorm.weight", (1, 32), r"\[1, 32\]"),
        ("embeddings.LayerNorm.weight", (), r"\[\]"),
    ],
)
def test_a_misshapen_weight_is_named_with_both_shapes(checkpoint, load, name, shape, message):
    expected = list(load_file(checkpoint / "model.safetensors")[name].shape)
    rewrite(checkpoint, lambda tensors: tensors | {name: torch.ones(shape)})
    with pytest.raises(CheckpointError, match=rf"the checkpoint has {message}, config\.json implies") as caught:
        load(checkpoint)
    assert str(expected) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "laplace"}, "hidden_act 'laplace'.*gelu"),
        ({"hidden_act": ["gelu"]}, r"hidden_act \['gelu'\].*gelu_tanh"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
        ({"hidden_size": None}, "hidden_size"),
        ({"vocab_size": None}, "vocab_size"),
        ({"num_hidden_layers": None}, "num_hidden_layers"),
        ({"num_attention_heads": 0}, "num_attention_heads"),
        ({"num_attention_heads": -4}, "num_attention_heads"),
        ({"num_attention_heads": 5}, "num_attention_heads"),
        ({"num_attention_heads": 64}, "num_attention_heads"),
        ({"num_attention_heads": "four"}, "num_attention_heads"),
        ({"hidden_size": -32}, "hidden_size"),
        ({"hidden_size": 32.0}, "hidden_size"),
        ({"intermediate_size": "48"}, "intermediate_size"),
        ({"num_hidden_layers": 0}, r"unused \(32\)"),
        ({"num_hidden_layers": 1}, r"unused \(16\)"),
        ({"num_hidden_layers": 3}, r"missing \(12\)"),
        ({"layer_norm_eps": "small"}, "BertModel"),
    ],
    ids=str,
)
def test_a_config_that_does_not_fit_is_a_checkpoint_error(checkpoint, load, change, message):
    path = checkpoint / "config.json"
    config = json.loads(path.read_text()) | change
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    with pytest.raises(CheckpointError, match=message):
        load(checkpoint)
