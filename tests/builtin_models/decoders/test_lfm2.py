"""LFM2: equal to transformers as a decoder, and to its modified layers as an encoder; ColBERT with both."""

import json
from functools import partial

import numpy as np
import pytest
import tokenizers
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from millpond import CheckpointError, PoolingParams
from millpond.testing.checkpoints import DenseLayer, random_tensors, tiny, vocabulary, write_dense
from millpond.testing.comparisons import random_prompts, relative_error

VOCABULARY = len(vocabulary("decoder"))
prompts_of = partial(random_prompts, VOCABULARY, first=4)
LENGTHS = (1, 2, 3, 64, 5, 8, 63, 13, 1, 21, 34, 47, 2, 64, 30, 7)
FEW_LENGTHS = (1, 2, 9, 40)
TOLERANCE = 1e-5  # relative to the largest value
NAMES = ("Lfm2Model", "Lfm2BidirectionalModel")
DIM = 12


class Centred(nn.Module):
    """The gated convolution of the encoder with torch's convolution, centred on each token."""

    def __init__(self, causal):
        super().__init__()
        self.inner, self.output = causal.in_proj, causal.out_proj
        size, _, width = causal.conv.weight.shape
        self.conv = nn.Conv1d(size, size, width, groups=size, padding=width // 2)
        self.conv.weight, self.conv.bias = causal.conv.weight, causal.conv.bias

    def forward(self, hidden_states, **_):
        before, after, x = self.inner(hidden_states).chunk(3, dim=-1)
        mixed = self.conv((before * x).transpose(1, 2))[..., : x.shape[1]].transpose(1, 2)
        return self.output(after * mixed)


def as_encoder(model):
    """Transformers' causal LFM2 with bidirectional attention and centred convolutions."""
    for layer in model.layers:
        if layer.is_attention_layer:
            layer.self_attn.is_causal = False
        else:
            layer.conv = Centred(layer.conv)
    return partial(model, attention_mask={"full_attention": None, "conv": None})


@pytest.fixture(scope="session")
def reference(transformers):
    """The hidden states of transformers' class for each prompt alone; the weights are loaded strictly."""

    def reference(folder, prompts, *, encoder):
        config = transformers.AutoConfig.from_pretrained(folder, attn_implementation="sdpa")
        model = transformers.AutoModel.from_config(config, dtype=torch.float32)
        model.load_state_dict(load_file(folder / "model.safetensors"))
        model.eval()
        run = as_encoder(model) if encoder else model
        with torch.inference_mode():
            return [run(torch.tensor([ids]), use_cache=False).last_hidden_state[0].numpy() for ids in prompts]

    return reference


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"conv_L_cache": 5, "conv_bias": True},
        {"conv_L_cache": 4},
        {"conv_L_cache": 1},
        {"layer_types": None, "full_attn_idxs": [0, 3]},
        {"layer_types": ["conv"] * 4},
        {"block_auto_adjust_ff_dim": True, "block_multiple_of": 16, "block_ffn_dim_multiplier": 1.5},
        {"block_ff_dim": 80},
        {"rope_theta": None},
        {"norm_eps": 0.1},
    ],
    ids=str,
)
def test_lfm2_equals_transformers_alone_and_in_a_batch(tmp_path, load, hidden, reference, name, change):
    folder = tiny(name, tmp_path, **change)
    prompts = prompts_of(LENGTHS)
    expected = reference(folder, prompts, encoder=name == "Lfm2BidirectionalModel")
    llm = load(folder)
    assert relative_error(hidden(llm, prompts), expected) <= TOLERANCE
    assert relative_error([hidden(llm, prompt)[0] for prompt in prompts[:6]], expected[:6]) <= TOLERANCE


def test_convolutions_do_not_read_other_sequences_of_a_batch(tmp_path, load, hidden):
    for name in NAMES:
        llm = load(tiny(name, tmp_path / name, layer_types=["conv"] * 4), batch_invariant=True)
        prompts = prompts_of(LENGTHS)
        together = hidden(llm, prompts)
        assert all(np.array_equal(hidden(llm, each)[0], rows) for each, rows in zip(prompts, together, strict=True))


def test_the_two_directions_differ(tmp_path, load, hidden):
    prompts = prompts_of((9,))
    causal, both = (hidden(load(tiny(name, tmp_path / name)), prompts)[0] for name in NAMES)
    assert np.abs(causal - both).max() > 1e-2


@pytest.mark.parametrize(
    "change",
    [
        {"is_causal": False},
        {"model_type": "lfm2_bidirectional"},
        {"auto_map": {"AutoModel": "modeling_lfm2_bidirectional.Lfm2BidirectionalModel"}},
    ],
    ids=str,
)
def test_config_json_may_name_the_encoder(tmp_path, load, hidden, reference, change):
    prompts = prompts_of(FEW_LENGTHS)
    plain = tiny("Lfm2Model", tmp_path / "plain")
    actual = hidden(load(tiny("Lfm2Model", tmp_path / "changed", **change)), prompts)
    assert relative_error(actual, reference(plain, prompts, encoder=True)) <= TOLERANCE


def test_the_causal_language_model_has_the_same_hidden_states(tmp_path, load, hidden):
    prompts = prompts_of(FEW_LENGTHS)
    bare, whole = (hidden(load(tiny(name, tmp_path / name)), prompts) for name in ("Lfm2Model", "Lfm2ForCausalLM"))
    assert relative_error(whole, bare) <= TOLERANCE


def test_default_pooling_types(tmp_path, load):
    types = [load(tiny(name, tmp_path / name)).model_config.pooler_config.seq_pooling_type for name in NAMES]
    assert types == ["LAST", "CLS"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer_types": ["conv", "mamba", "conv", "conv"]}, "layer_types must name 'full_attention' or 'conv'"),
        ({"conv_L_cache": 0, "layer_types": ["full_attention", "full_attention", "full_attention", "conv"]}, "conv_L_"),
    ],
    ids=str,
)
def test_a_config_that_does_not_fit_is_refused(tmp_path, load, change, message):
    with pytest.raises(CheckpointError, match=message):
        load(tiny("Lfm2Model", tmp_path, **change))


# --- ColBERT ----------------------------------------------------------------------------------------------------------


def as_pylate(folder, name="Lfm2Model", **config):
    """Files like those of LiquidAI/LFM2-ColBERT-350M: PyLate's layout, with markers as added tokens."""
    tiny(name, folder, vocab_size=VOCABULARY + 2, **config)
    path = folder / "tokenizer.json"
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.add_tokens(["[Q] ", "[D] "])
    tokenizer.save(str(path))
    write_dense(folder / "1_Dense", DenseLayer(in_features=32, out_features=DIM, bias=False))
    settings = folder / "1_Dense" / "config.json"
    content = json.loads(settings.read_text()) | {"activation_function": "torch.nn.modules.linear.Identity"}
    settings.write_text(json.dumps(content))
    types = ("sentence_transformers.models.Transformer", "pylate.models.Dense.Dense")
    lines = zip(("", "1_Dense"), types, strict=True)
    modules = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(lines)]
    (folder / "modules.json").write_text(json.dumps(modules))
    content = {"model_type": "ColBERT", "query_prefix": "[Q] ", "document_prefix": "[D] ", "prompts": {}}
    content |= {"query_length": 16, "document_length": 40, "do_query_expansion": False}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(content))
    return folder


TEXTS = ["the old mill by the pond", "a cat", "rain and wind over the river at night"]


def vectors(llm, kind):
    params = PoolingParams(extra_kwargs={"input_type": kind})
    return [it.outputs.array for it in llm.encode(TEXTS, params, pooling_task="token_embed", use_tqdm=False)]


@pytest.mark.parametrize("overrides", [None, {"architectures": ["ColBERTLfm2Model"]}], ids=str)
def test_colbert_of_pylate_equals_sentence_transformers(tmp_path, load, overrides):
    import sentence_transformers

    folder = as_pylate(tmp_path)
    model = sentence_transformers.MultiVectorEncoder(str(folder), device="cpu")
    llm = load(folder, hf_overrides=overrides)
    for kind, encode in (("query", model.encode_query), ("document", model.encode_document)):
        expected = [np.asarray(encode([text], convert_to_numpy=True)[0]) for text in TEXTS]
        for output, rows in zip(vectors(llm, kind), expected, strict=True):
            np.testing.assert_allclose(output, rows, atol=2e-5)


def test_colbert_of_the_encoder_projects_its_hidden_states(tmp_path, load, hidden):
    folder = as_pylate(tmp_path / "late", "Lfm2BidirectionalModel")
    bare = tiny("Lfm2BidirectionalModel", tmp_path / "bare", vocab_size=VOCABULARY + 2)
    weight = load_file(folder / "1_Dense" / "model.safetensors")["linear.weight"].numpy()
    (output,) = load(folder).encode("the old mill", pooling_task="token_embed", use_tqdm=False)
    (rows,) = hidden(load(bare), "the old mill")
    expected = rows @ weight.T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(output.outputs.array, expected, atol=1e-5)


def test_colbert_may_have_its_projection_in_the_model_weights(tmp_path, load, hidden):
    folder = tiny("Lfm2Model", tmp_path / "late")
    (rows,) = hidden(load(folder), "the old mill")
    projection = random_tensors({"linear.weight": (DIM, 32)}, seed=3)
    save_file(load_file(folder / "model.safetensors") | projection, folder / "model.safetensors")
    llm = load(folder, hf_overrides={"architectures": ["ColBERTLfm2Model"]})
    (output,) = llm.encode("the old mill", pooling_task="token_embed", use_tqdm=False)
    expected = rows @ projection["linear.weight"].numpy().T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(output.outputs.array, expected, atol=1e-5)


@pytest.mark.parametrize("zeroed", [False, True])
def test_conv_zero_padding_zeroes_masked_tokens(tmp_path, load, zeroed):
    """The published ColBERT reads the expansion tokens of a query; ``conv_zero_padding`` sets them to zero."""
    folder = as_pylate(tmp_path / "late", "Lfm2BidirectionalModel", conv_zero_padding=zeroed)
    settings = folder / "config_sentence_transformers.json"
    config = json.loads(settings.read_text()) | {"do_query_expansion": True, "attend_to_expansion_tokens": False}
    settings.write_text(json.dumps(config))
    llm = load(folder)
    long, short = vectors(llm, "query")[2], vectors(llm, "query")[1]
    assert len(long) == len(short) == 16
    bare = json.loads(settings.read_text()) | {"do_query_expansion": False}
    settings.write_text(json.dumps(bare))
    alone = vectors(load(folder), "query")[1]
    difference = np.abs(short[: len(alone)] - alone).max()
    assert bool(difference < 1e-5) == zeroed  # masked tokens only affect others through convolutions


def test_expansion_tokens_are_zeros_in_the_decoders_convolutions(tmp_path, load):
    import sentence_transformers

    folder = as_pylate(tmp_path)
    settings = folder / "config_sentence_transformers.json"
    expansion = {"do_query_expansion": True, "attend_to_expansion_tokens": False}
    settings.write_text(json.dumps(json.loads(settings.read_text()) | expansion))
    model = sentence_transformers.MultiVectorEncoder(str(folder), device="cpu")
    expected = [np.asarray(rows) for rows in model.encode_query(TEXTS, convert_to_numpy=True)]
    for rows, theirs in zip(vectors(load(folder), "query"), expected, strict=True):
        np.testing.assert_allclose(rows, theirs, atol=1e-5)
