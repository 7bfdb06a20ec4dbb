"""NomicBertModel: equal to a reference in plain torch, and to transformers."""

import json
from functools import partial
from math import exp, log

import numpy as np
import pytest
import torch
from model_kit import min_embedding_cosine
from safetensors.torch import load_file
from torch.nn import functional

from millpond import CheckpointError, InvalidInputError
from millpond.testing.checkpoints import tiny, vocabulary, write_sentence_transformers
from millpond.testing.comparisons import change_config, random_prompts, relative_error, rewrite

VOCABULARY = len(vocabulary("bert"))
prompts_of = partial(random_prompts, VOCABULARY)
LENGTHS = (1, 2, 3, 64, 5, 8, 63, 13, 1, 21, 34, 47, 2, 64, 30, 9)
FEW_LENGTHS = (1, 9, 40)
BIASED = dict.fromkeys(("qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias"), True)
EXPERTS = {
    "activation_function": "gelu",
    "moe_every_n_layers": 2,
    "num_experts": 5,
    "moe_top_k": 2,
    "type_vocab_size": 1,
    "n_layer": 4,
    **BIASED,
}


def nomic(path, **settings):
    return tiny("NomicBertModel", path, **settings)


class Plain:
    """The model in float64, one text at a time, with rotary pairs as complex numbers and a loop over experts."""

    def __init__(self, folder):
        self.config = json.loads((folder / "config.json").read_text())
        self.tensors = {name: tensor.double() for name, tensor in load_file(folder / "model.safetensors").items()}

    def __call__(self, ids):
        tensors = self.tensors
        x = tensors["embeddings.word_embeddings.weight"][ids] + tensors["embeddings.token_type_embeddings.weight"][0]
        x = self.norm("emb_ln", x)
        for layer in range(self.config["n_layer"]):
            name = f"encoder.layers.{layer}"
            x = self.norm(f"{name}.norm1", x + self.attend(f"{name}.attn", x))
            x = self.norm(f"{name}.norm2", x + self.feed(f"{name}.mlp", x))
        return x.float().numpy()

    def norm(self, name, x):
        eps = self.config["layer_norm_epsilon"]
        scaled = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + eps).sqrt()
        return scaled * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]

    def map(self, name, x):
        return x @ self.tensors[f"{name}.weight"].T + self.tensors.get(f"{name}.bias", 0.0)

    def rotate(self, x):
        length, size = len(x), x.shape[-1]
        turned = int(size * self.config["rotary_emb_fraction"])
        base, factor = self.config["rotary_emb_base"], self.config.get("rotary_scaling_factor")
        trained = self.config["max_trained_positions"]
        if factor and length > trained:
            base *= (factor * length / trained - (factor - 1)) ** (turned / (turned - 2))
        half = turned // 2
        angles = torch.tensor(
            [[index * exp(-2 * i / turned * log(base)) for i in range(half)] for index in range(length)]
        )
        pairs = torch.complex(x[..., :half], x[..., half:turned]) * torch.exp(1j * angles.double())[:, None]
        return torch.cat((pairs.real, pairs.imag, x[..., turned:]), dim=-1)

    def attend(self, name, x):
        heads = self.config["n_head"]
        query, key, value = self.map(f"{name}.Wqkv", x).reshape(len(x), 3, heads, -1).unbind(1)
        scores = torch.einsum("qhd,khd->hqk", self.rotate(query), self.rotate(key)) / query.shape[-1] ** 0.5
        return self.map(f"{name}.out_proj", torch.einsum("hqk,khd->qhd", scores.softmax(-1), value).flatten(1))

    def feed(self, name, x):
        if f"{name}.router.layer.weight" in self.tensors:
            return torch.stack([self.mix(name, row) for row in x])
        activation = self.config["activation_function"]
        if activation == "gelu":
            return self.map(f"{name}.fc2", functional.gelu(self.map(f"{name}.fc1", x)))
        bend = functional.silu if activation == "swiglu" else functional.gelu
        return self.map(f"{name}.fc2", self.map(f"{name}.fc11", x) * bend(self.map(f"{name}.fc12", x)))

    def mix(self, name, row):
        shares = (self.tensors[f"{name}.router.layer.weight"] @ row).softmax(-1)
        inner = self.config["n_inner"]
        total = self.tensors[f"{name}.experts.bias"].clone()
        for number in shares.argsort(descending=True)[: self.config["moe_top_k"]].tolist():
            mine = slice(number * inner, (number + 1) * inner)
            first, second = (self.tensors[f"{name}.experts.mlp.{part}"][mine] for part in ("w1", "w2"))
            total += shares[number] * (functional.gelu(first @ row) @ second)
        return total


@pytest.fixture
def equals_plain_torch(load, hidden):
    """Return a function that compares the hidden states of Millpond with those of plain torch."""

    def equals_plain_torch(folder, prompts, **settings):
        plain = Plain(folder)
        return relative_error(hidden(load(folder, **settings), prompts), [plain(prompt) for prompt in prompts]) <= 1e-5

    return equals_plain_torch


@pytest.mark.parametrize("change", [{}, EXPERTS], ids=["gates", "experts"])
def test_a_batch_of_mixed_lengths_equals_plain_torch(tmp_path, assert_equal_in_any_batch, change):
    folder = nomic(tmp_path, **change)
    prompts = prompts_of(LENGTHS)
    plain = Plain(folder)
    expected = [plain(prompt) for prompt in prompts]
    assert_equal_in_any_batch(folder, prompts, expected)


@pytest.mark.parametrize(
    "shape",
    [
        BIASED,
        {"qkv_proj_bias": True},
        {"mlp_fc1_bias": True},
        {"mlp_fc2_bias": True},
        {"activation_function": "geglu"},
        {"activation_function": "gelu"},
        {"activation_function": "gelu", "mlp_fc2_bias": True},
        {"n_embd": 64, "n_head": 2, "n_inner": 7, "n_layer": 3},
        {"layer_norm_epsilon": 0.1},
        {"rotary_emb_base": 50000},
        {"rotary_emb_fraction": 0.5},
        {"type_vocab_size": 1},
        {**EXPERTS, "moe_top_k": 1},
        {**EXPERTS, "moe_top_k": 5},
        {**EXPERTS, "moe_every_n_layers": 3},
        {**EXPERTS, "activation_function": "gelu", "rotary_emb_base": 10000},
    ],
    ids=str,
)
@pytest.mark.parametrize("deterministic", [False, True])
def test_the_shape_in_config_json_is_used(tmp_path, equals_plain_torch, shape, deterministic):
    assert equals_plain_torch(nomic(tmp_path, **shape), prompts_of(FEW_LENGTHS), batch_invariant=deterministic)


def test_rotary_scaling_factor_scales_texts_by_their_length(tmp_path, load, hidden, equals_plain_torch):
    folder = nomic(tmp_path, max_trained_positions=16, rotary_scaling_factor=2.0)
    assert equals_plain_torch(folder, prompts_of((1, 16, 17, 40, 64, 40)))
    short = prompts_of((1, 9, 16))
    plain = load(folder, hf_overrides={"rotary_scaling_factor": None})
    assert relative_error(hidden(plain, short), hidden(load(folder), short)) == 0


def test_rope_scaling_takes_precedence_over_rotary_scaling_factor(tmp_path, load, hidden):
    folder = nomic(tmp_path)
    prompts = prompts_of(FEW_LENGTHS)
    linear = {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}
    actual = hidden(load(folder, hf_overrides=linear), prompts)
    assert (
        relative_error(hidden(load(folder, hf_overrides={**linear, "rotary_scaling_factor": 2.0}), prompts), actual)
        == 0
    )
    assert relative_error(hidden(load(folder), prompts), actual) > 1e-3


def test_texts_beyond_the_training_length_require_scaled_positions(tmp_path, load):
    folder = nomic(tmp_path, max_trained_positions=16, n_positions=60)
    write_sentence_transformers(folder, max_seq_length=50)
    llm = load(folder)
    assert llm.model_config.max_model_len == 16
    with pytest.raises(InvalidInputError, match="16 tokens"):
        llm.embed(prompts_of([17]), use_tqdm=False)
    for stretched in ({"rotary_scaling_factor": 4}, {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}):
        assert load(folder, hf_overrides=stretched).model_config.max_model_len == 50
    (folder / "sentence_bert_config.json").unlink()
    assert load(folder).model_config.max_model_len == 16
    assert load(folder, hf_overrides={"rotary_scaling_factor": 4}).model_config.max_model_len == 60
    with pytest.raises(InvalidInputError, match=r"max_model_len=17 exceeds .* 16 tokens.*max_trained_positions"):
        load(folder, max_model_len=17)


def test_bfloat16_is_near_float32(tmp_path, load, hidden):
    folder = nomic(tmp_path)
    prompts = prompts_of(LENGTHS)
    assert 1e-4 < relative_error(hidden(load(folder, dtype="bfloat16"), prompts), hidden(load(folder), prompts)) <= 3e-2


@pytest.mark.parametrize("change", [{}, EXPERTS], ids=["gates", "experts"])
def test_int8_is_near_float32(tmp_path, load, change):
    folder = nomic(tmp_path, **{**change, "n_embd": 128, "n_inner": 256})
    prompts = prompts_of(LENGTHS)
    assert 0.98 < min_embedding_cosine(load, folder, prompts, quantization="int8") < 1 - 1e-7


@pytest.mark.parametrize("settings", [{}, {"quantization": "int8"}, {"dtype": "bfloat16"}], ids=str)
@pytest.mark.parametrize("change", [{}, EXPERTS], ids=["gates", "experts"])
def test_deterministic_results_are_bit_identical_in_every_batch(tmp_path, load, hidden, settings, change):
    folder = nomic(tmp_path, **change, n_inner=50)
    prompts = prompts_of(LENGTHS)
    together = hidden(load(folder, batch_invariant=True, **settings), prompts)
    small = load(folder, batch_invariant=True, max_num_batched_tokens=40, max_num_seqs=3, **settings)
    assert all(map(np.array_equal, hidden(small, prompts), together))
    assert all(np.array_equal(hidden(small, prompt)[0], rows) for prompt, rows in zip(prompts, together, strict=True))


def test_checkpoints_saved_by_transformers_are_loaded(tmp_path, load, hidden, transformers):
    torch.manual_seed(4)
    settings = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    config = transformers.NomicBertConfig(vocab_size=50, max_position_embeddings=40, **settings)
    model = transformers.NomicBertModel(config).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(tmp_path)
    llm = load(tmp_path)
    assert llm.model_config.max_model_len == 40
    assert llm.model_config.embedding_size == 32
    prompts = [list(range(10, 48)), [7]]
    with torch.inference_mode():
        expected = [model(torch.tensor([prompt])).last_hidden_state[0].numpy() for prompt in prompts]
    assert relative_error(hidden(llm, prompts), expected) <= 1e-5


def test_the_mean_is_pooled_by_default(tmp_path, load, hidden):
    folder = nomic(tmp_path)
    llm = load(folder)
    assert llm.model_config.embedding_size == 32
    text = "the old mill by the pond"
    rows = hidden(llm, [text])[0]
    (output,) = llm.embed([text], use_tqdm=False)
    mean = rows.mean(axis=0)
    np.testing.assert_allclose(output.outputs.array, mean / np.linalg.norm(mean), rtol=0, atol=1e-6)
    write_sentence_transformers(folder, pooling="cls")
    (output,) = load(folder).embed([text], use_tqdm=False)
    np.testing.assert_allclose(output.outputs.array, rows[0] / np.linalg.norm(rows[0]), rtol=0, atol=1e-6)


def test_the_encoder_of_a_masked_language_model_is_loaded(tmp_path, load, hidden):
    prompts = prompts_of(FEW_LENGTHS)
    folder = nomic(tmp_path / "masked", prefix="bert.")
    more = {"cls.predictions.decoder.bias": torch.ones(9), "bert.pooler.dense.weight": torch.ones(32, 32)}
    rewrite(folder, lambda tensors: tensors | more)
    assert relative_error(hidden(load(folder), prompts), hidden(load(nomic(tmp_path / "bare")), prompts)) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prenorm": True}, "unsupported prenorm True for NomicBertModel"),
        ({"rotary_emb_interleaved": True}, "rotary_emb_interleaved True"),
        ({"rotary_emb_scale_base": 512}, "rotary_emb_scale_base 512"),
        ({"rotary_emb_fraction": 0.0}, r"a fraction of 0\.0 of head dimension 8"),
        ({"rotary_emb_fraction": 0.3}, r"0\.3 of head dimension 8"),
        ({"activation_function": "laplace"}, "hidden_act 'laplace'"),
        ({"n_head": 5}, "num_attention_heads 5"),
        ({"mlp_fc2_bias": True}, r"missing \(2\)"),
    ],
    ids=str,
)
def test_a_config_that_does_not_fit_is_a_checkpoint_error(tmp_path, load, change, message):
    with pytest.raises(CheckpointError, match=message):
        load(change_config(nomic(tmp_path), change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"num_experts": 7},
            r"the 240 rows of encoder\.layers\.1\.mlp\.experts\.mlp\.w\d are not divisible by num_experts 7",
        ),
        ({"moe_top_k": 6}, "moe_top_k 6 must be between 1 and num_experts 5"),
        ({"moe_normalize_expert_weights": True}, "moe_normalize_expert_weights True"),
        ({"num_shared_experts": 1}, "num_shared_experts 1"),
    ],
    ids=str,
)
def test_experts_that_do_not_fit_are_a_checkpoint_error(tmp_path, load, change, message):
    with pytest.raises(CheckpointError, match=message):
        load(change_config(nomic(tmp_path, **EXPERTS), change))
