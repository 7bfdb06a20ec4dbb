"""Jina's BERT in both layouts: equal to plain numpy on random tiny weights, in batches and alone."""

import json
import math
from functools import partial

import numpy as np
import pytest
from model_kit import min_embedding_cosine
from safetensors.torch import load_file

from millpond import CheckpointError, PoolingParams
from millpond.testing.checkpoints import tiny, vocabulary, write_sentence_transformers
from millpond.testing.comparisons import random_prompts, relative_error
from millpond_models.layers.position_bias import slopes
from millpond_models.testing.biased import JINA_BERT, JINA_BERT_WITH_NORMS, biased_shapes

VOCABULARY = len(vocabulary("bert"))
prompts_of = partial(random_prompts, VOCABULARY)
LENGTHS = (1, 2, 64, 5, 8, 63, 1, 34, 24, 16, 17, 64, 33)
TOLERANCE = 1e-5  # relative to the largest value
LAYOUTS = {"plain": {}, "with norms": JINA_BERT_WITH_NORMS}


# --- the reference --------------------------------------------------------------------------------------------------


class Reference:
    """The published computation in float64, one text at a time."""

    def __init__(self, folder):
        self.config = json.loads((folder / "config.json").read_text())
        tensors = load_file(folder / "model.safetensors")
        self.all = {name.removeprefix("bert."): tensor.double().numpy() for name, tensor in tensors.items()}

    def linear(self, x, name):
        return x @ self.all[f"{name}.weight"].T + self.all.get(f"{name}.bias", 0.0)

    def norm(self, x, name):
        centred = x - x.mean(-1, keepdims=True)
        variance = (centred**2).mean(-1, keepdims=True)
        scaled = centred / np.sqrt(variance + self.config["layer_norm_eps"])
        return scaled * self.all[f"{name}.weight"] + self.all[f"{name}.bias"]

    def attention(self, x, layer, *, normed):
        heads, length = self.config["num_attention_heads"], len(x)
        query, key, value = (self.linear(x, f"{layer}.attention.self.{name}") for name in ("query", "key", "value"))
        if normed:
            query = self.norm(query, f"{layer}.attention.self.layer_norm_q")
            key = self.norm(key, f"{layer}.attention.self.layer_norm_k")
        size = query.shape[1] // heads
        outputs = []
        for head in range(heads):
            head_rows = slice(head * size, (head + 1) * size)
            scores = query[:, head_rows] @ key[:, head_rows].T / math.sqrt(size)
            if self.config["position_embedding_type"] == "alibi":
                far = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
                scores = scores - 2.0 ** (-8 * (head + 1) / heads) * far  # for a number of heads that is a power of two
            weights = np.exp(scores - scores.max(1, keepdims=True))
            outputs.append(weights / weights.sum(1, keepdims=True) @ value[:, head_rows])
        return self.linear(np.concatenate(outputs, axis=1), f"{layer}.attention.output.dense")

    def feed_forward(self, x, layer, *, normed):
        kind = self.config["feed_forward_type"]
        act = (lambda v: np.maximum(v, 0)) if kind == "reglu" else gelu
        if kind == "original":
            return self.linear(act(self.linear(x, f"{layer}.intermediate.dense")), f"{layer}.output.dense")
        halves = np.split(self.linear(x, f"{layer}.mlp.{'up_gated_layer' if normed else 'gated_layers'}"), 2, axis=1)
        gate, other = halves[::-1] if normed else halves
        return self.linear(act(gate) * other, f"{layer}.mlp.{'down_layer' if normed else 'wo'}")

    def __call__(self, ids, types=None):
        normed = "qk-post-norm" in json.dumps(self.config.get("auto_map"))
        types = np.zeros(len(ids), dtype=int) if types is None else np.asarray(types)
        x = (
            self.all["embeddings.word_embeddings.weight"][ids]
            + self.all["embeddings.token_type_embeddings.weight"][types]
        )
        if self.config["position_embedding_type"] == "absolute":
            x = x + self.all["embeddings.position_embeddings.weight"][: len(ids)]
        x = self.norm(x, "embeddings.LayerNorm")
        behind = "mlp.layernorm" if self.config["feed_forward_type"] != "original" else "output.LayerNorm"
        for number in range(self.config["num_hidden_layers"]):
            layer = f"encoder.layer.{number}"
            attended = self.norm(x + self.attention(x, layer, normed=normed), f"{layer}.attention.output.LayerNorm")
            x = self.norm(x + attended, f"{layer}.layer_norm_1") if normed else attended
            x = self.norm(
                x + self.feed_forward(x, layer, normed=normed), f"{layer}.{'layer_norm_2' if normed else behind}"
            )
        return x


def gelu(x):
    return np.vectorize(lambda v: 0.5 * v * (1 + math.erf(v / math.sqrt(2))))(x)


# --- hidden states --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"num_attention_heads": 2},
        {"feed_forward_type": "reglu"},
        {"layer_norm_eps": 0.1},
        {"position_embedding_type": "absolute"},
    ],
    ids=str,
)
def test_a_batch_of_mixed_lengths_equals_plain_numpy(tmp_path, load, hidden, layout, change):
    folder = tiny("JinaBertModel", tmp_path, **LAYOUTS[layout], **change)
    prompts = prompts_of(LENGTHS)
    expected = [Reference(folder)(ids) for ids in prompts]
    llm = load(folder)
    assert relative_error(hidden(llm, prompts), expected) <= TOLERANCE
    assert relative_error([hidden(llm, prompt)[0] for prompt in prompts], expected) <= TOLERANCE


@pytest.mark.parametrize("kernels", [{"attention": "sdpa"}, {"attention": "reference"}], ids=str)
def test_all_attention_kernels_with_bias_are_equal(tmp_path, load, hidden, kernels):
    folder = tiny("JinaBertModel", tmp_path)
    prompts = prompts_of(LENGTHS)
    expected = [Reference(folder)(ids) for ids in prompts]
    assert relative_error(hidden(load(folder, kernels=kernels), prompts), expected) <= TOLERANCE


def test_a_feed_forward_half_without_a_gate(tmp_path, load, hidden):
    folder = tiny("JinaBertModel", tmp_path, feed_forward_type="original")
    prompts = prompts_of(LENGTHS)
    assert relative_error(hidden(load(folder), prompts), [Reference(folder)(ids) for ids in prompts]) <= TOLERANCE


def test_distances_beyond_the_training_length_have_an_effect(tmp_path, load, hidden):
    """ALiBi has no maximum position."""
    folder = tiny("JinaBertModel", tmp_path, max_position_embeddings=700)
    prompts = prompts_of((600, 1, 700, 90))
    assert relative_error(hidden(load(folder), prompts), [Reference(folder)(ids) for ids in prompts]) <= TOLERANCE


@pytest.mark.parametrize("name", ["JinaBertForMaskedLM", "JinaBertModel"])
def test_the_names_in_published_files(tmp_path, load, hidden, name):
    """Like jina-embeddings-v2-base-en, with the prefix ``bert.`` or without."""
    prompts = prompts_of((3, 40))
    bare = tiny("JinaBertModel", tmp_path / "bare", architectures=[name])
    prefixed = tiny("JinaBertModel", tmp_path / "prefixed", prefix="bert.", architectures=[name])
    expected = [Reference(bare)(ids) for ids in prompts]
    for folder in (bare, prefixed):
        assert relative_error(hidden(load(folder), prompts), expected) <= TOLERANCE


def test_slopes_of_a_number_of_heads_that_is_not_a_power_of_two():
    """The slopes of 12 heads, as in jina-embeddings-v2-base: those of 8, then every other one of 16."""
    eight, sixteen = ([2 ** (-8 * (i + 1) / n) for i in range(n)] for n in (8, 16))
    np.testing.assert_allclose(slopes(12), eight + sixteen[:8:2], rtol=1e-12)
    np.testing.assert_allclose(slopes(8), eight, rtol=1e-12)
    assert slopes(1) == [2**-8]


# --- embeddings and scores ------------------------------------------------------------------------------------------


def test_the_mean_is_pooled_by_default(tmp_path, load):
    folder = tiny("JinaBertModel", tmp_path)
    prompts = prompts_of(LENGTHS)
    means = np.stack([Reference(folder)(ids).mean(axis=0) for ids in prompts])
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)
    actual = np.stack([output.outputs.array for output in load(folder).embed(prompts, use_tqdm=False)])
    assert np.abs(actual - expected).max() <= TOLERANCE


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("settings", [{"dtype": "bfloat16"}, {"quantization": "int8"}], ids=str)
def test_lower_precision_is_near(tmp_path, load, layout, settings):
    folder = tiny("JinaBertModel", tmp_path, hidden_size=128, intermediate_size=256, **LAYOUTS[layout])
    write_sentence_transformers(folder, pooling="mean", size=128)
    prompts = prompts_of(LENGTHS)
    least = 0.999 if "dtype" in settings else 0.99
    assert least < min_embedding_cosine(load, folder, prompts, **settings) < 1 - 1e-7


@pytest.mark.parametrize("tokenizer", ["BertTokenizer", "RobertaTokenizerFast"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_reranker_equals_plain_numpy(tmp_path, load, layout, tokenizer):
    """Like jina-reranker-v1-turbo-en: a tanh layer on the first token, then a score; with and without token types."""
    folder = tiny("JinaBertForSequenceClassification", tmp_path, num_labels=1, **LAYOUTS[layout])
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "tokenizer_class": tokenizer}))
    queries, documents = ["the old mill", "fish"], ["a pond by the hill", "the bird and the fish in the river"]
    reference = Reference(folder)
    for output in load(folder).score(queries, documents, use_tqdm=False):
        ids = output.prompt_token_ids
        first = ids.index(vocabulary("bert")["[SEP]"]) + 1
        segment = int(tokenizer == "BertTokenizer")
        states = reference(ids, [0] * first + [segment] * (len(ids) - first))
        logit = reference.linear(np.tanh(reference.linear(states[0], "pooler.dense")), "classifier")
        np.testing.assert_allclose(output.outputs.score, 1 / (1 + np.exp(-logit[0])), atol=1e-5)


def test_the_published_reranker_has_the_expected_number_of_parameters():
    """jina-reranker-v1-turbo-en has 37,771,777: 384 dimensions, 6 layers, a vocabulary of 61,056, a pooler, a score."""
    config = {**JINA_BERT, "hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536, "vocab_size": 61056}
    shapes = biased_shapes("JinaBertForSequenceClassification", {**config, "id2label": {"0": "LABEL_0"}})
    assert sum(math.prod(shape) for shape in shapes.values()) == 37_771_777


def test_every_token_has_classes(tmp_path, load):
    folder = tiny("JinaBertForSequenceClassification", tmp_path, num_labels=3)
    prompts = prompts_of((1, 30))
    reference = Reference(folder)
    expected = [
        reference.linear(np.tanh(reference.linear(reference(ids), "pooler.dense")), "classifier") for ids in prompts
    ]
    bare = PoolingParams(use_activation=False)
    outputs = load(folder).encode(prompts, pooling_task="token_classify", pooling_params=bare, use_tqdm=False)
    assert relative_error([output.outputs.array for output in outputs], expected) <= TOLERANCE


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feed_forward_type": "swiglu"}, r"unknown feed_forward_type 'swiglu'\. Available: original, geglu, reglu"),
        (
            {"position_embedding_type": "rotary"},
            r"position_embedding_type 'rotary' for JinaBertModel\. Supported: 'absolute'",
        ),
    ],
    ids=str,
)
def test_unknown_settings_are_refused(tmp_path, load, change, message):
    with pytest.raises(CheckpointError, match=message):
        load(tiny("JinaBertModel", tmp_path, **change))


def test_the_other_layout_is_an_error_that_names_the_tensors(tmp_path, load):
    folder = tiny("JinaBertModel", tmp_path, **JINA_BERT_WITH_NORMS)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": None}))
    with pytest.raises(CheckpointError, match="layer_norm_q"):
        load(folder)
    named = {"_name_or_path": "jinaai/jina-bert-v2-qk-post-norm"}
    assert load(folder, hf_overrides=named).embed("the mill", use_tqdm=False)
