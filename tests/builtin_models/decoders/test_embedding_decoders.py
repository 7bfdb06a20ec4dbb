"""Embedding decoders and GPT-2: equal to transformers or plain torch on random weights, in any batch."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from model_kit import min_embedding_cosine
from safetensors.torch import load_file

from millpond import CheckpointError, InvalidInputError, PoolingParams
from millpond.testing.checkpoints import DenseLayer, tiny, vocabulary, write_sentence_transformers, write_weights
from millpond.testing.comparisons import change_config, random_prompts, relative_error
from millpond_models.testing.gritlm import MARKER_TOKENS, tiny_gritlm

VOCABULARY = len(vocabulary("decoder"))
prompts_of = partial(random_prompts, VOCABULARY, first=4)
LENGTHS = (1, 2, 3, 64, 5, 8, 63, 13, 1, 21, 34, 47, 2, 64, 30, 7)
FEW_LENGTHS = (1, 9, 40)
TOLERANCE = 1e-5  # relative to the largest value
NAMES = ("Gemma3TextModel", "LlamaBidirectionalModel", "VoyageQwen3BidirectionalEmbedModel", "GPT2Model")


@pytest.fixture(scope="session")
def reference(transformers):
    """The hidden states of transformers' class for the ``model_type``; the weights are loaded strictly."""

    def reference(folder, prompts):
        config = transformers.AutoConfig.from_pretrained(folder, attn_implementation="eager")
        model = transformers.AutoModel.from_config(config, dtype=torch.float32)
        model.load_state_dict(load_file(folder / "model.safetensors"))
        model.eval()
        with torch.inference_mode():
            return [model(torch.tensor([ids]), use_cache=False).last_hidden_state[0].numpy() for ids in prompts]

    return reference


# --- all of them ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("settings", [{}, {"quantization": "int8"}], ids=str)
def test_deterministic_results_are_bit_identical_in_every_batch(tmp_path, load, hidden, name, settings):
    prompts = prompts_of(LENGTHS)
    llm = load(tiny(name, tmp_path), batch_invariant=True, **settings)
    together = hidden(llm, prompts)
    assert all(np.array_equal(hidden(llm, prompt)[0], rows) for prompt, rows in zip(prompts, together, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_int8_is_near_float32(tmp_path, load, name):
    wide = {"n_embd": 128} if name == "GPT2Model" else {"hidden_size": 128, "head_dim": 32, "intermediate_size": 256}
    folder = tiny(name, tmp_path, **wide)
    prompts = prompts_of(LENGTHS)
    assert (
        0.99 < min_embedding_cosine(load, folder, prompts, quantization="int8") < 1 - 1e-7
    )  # quantization has an effect


# --- Gemma 3 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("window", [1, 2, 7, 24, 63])
def test_gemma3_equals_transformers(tmp_path, load, hidden, reference, both, window):
    folder = tiny("Gemma3TextModel", tmp_path, use_bidirectional_attention=both, sliding_window=window)
    prompts = prompts_of(LENGTHS)
    expected = reference(folder, prompts)
    llm = load(folder)
    assert relative_error(hidden(llm, prompts), expected) <= TOLERANCE
    assert relative_error([hidden(llm, prompt)[0] for prompt in prompts], expected) <= TOLERANCE


@pytest.mark.parametrize(
    "change",
    [
        {"layer_types": None, "sliding_window_pattern": 2},
        {"layer_types": None},
        {"layer_types": ["full_attention", "full_attention"]},
        {"query_pre_attn_scalar": 16},
        {"query_pre_attn_scalar": None},
        {"attention_bias": True},
        {"head_dim": 8, "num_key_value_heads": 1},
        {"rms_norm_eps": 0.1},
        {"rope_theta": None, "rope_local_base_freq": None},
        {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
        {
            "rope_theta": None,
            "rope_local_base_freq": None,
            "rope_parameters": {
                "full_attention": {"rope_theta": 300.0, "rope_type": "linear", "factor": 2.0},
                "sliding_attention": {"rope_theta": 30.0, "rope_type": "default"},
            },
        },
        {"hidden_activation": "silu"},
    ],
    ids=str,
)
def test_gemma3_follows_config_json(tmp_path, load, hidden, reference, change):
    prompts = prompts_of(FEW_LENGTHS)
    folder = tiny("Gemma3TextModel", tmp_path / "changed", **change)
    actual = hidden(load(folder), prompts)
    assert relative_error(actual, reference(folder, prompts)) <= TOLERANCE
    base = hidden(load(tiny("Gemma3TextModel", tmp_path / "base")), prompts)
    same = change.get("sliding_window_pattern") == 2  # the default of the base class differs
    assert (relative_error(actual, base) <= TOLERANCE) is same


def test_gemma3_has_no_softcap_like_transformers(tmp_path, load, hidden, reference):
    folder = tiny("Gemma3TextModel", tmp_path, attn_logit_softcapping=0.2)
    prompts = prompts_of(FEW_LENGTHS)
    assert relative_error(hidden(load(folder), prompts), reference(folder, prompts)) <= TOLERANCE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer_types": ["full_attention"]}, "layer_types must have .* for each of 2 layers"),
        ({"layer_types": ["mamba", "full_attention"]}, "layer_types must have .* got .'mamba'"),
        ({"query_pre_attn_scalar": 0}, "query_pre_attn_scalar must be a positive number; got 0"),
        ({"sliding_window": 0}, "sliding_window must be a positive number of tokens or null; got 0"),
        ({"rope_scaling": {"rope_type": "spiral"}}, "rope_type 'spiral'"),
    ],
    ids=str,
)
def test_a_gemma3_that_does_not_fit_is_refused(tmp_path, load, change, message):
    folder = change_config(tiny("Gemma3TextModel", tmp_path, use_bidirectional_attention=False), change)
    with pytest.raises(CheckpointError, match=message):
        load(folder)


def test_embeddinggemma_applies_two_dense_modules_to_the_mean(tmp_path, load, reference):
    folder = tiny("Gemma3TextModel", tmp_path)
    identity = "torch.nn.modules.linear.Identity"
    layers = [
        DenseLayer(in_features=32, out_features=96, bias=False, activation=identity),
        DenseLayer(in_features=96, out_features=32, bias=False, activation=identity),
    ]
    write_sentence_transformers(folder, dense=layers, pooling="mean")
    prompts = prompts_of(FEW_LENGTHS)
    maps = [load_file(folder / f"{number}_Dense" / "model.safetensors")["linear.weight"].numpy() for number in (2, 3)]
    expected = [rows.mean(axis=0) @ maps[0].T @ maps[1].T for rows in reference(folder, prompts)]
    outputs = load(folder).embed(prompts, use_tqdm=False)
    for output, row in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(output.outputs.array, row / np.linalg.norm(row), rtol=0, atol=TOLERANCE)


# --- both directions ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def of_both_directions(transformers):
    """The hidden states of transformers' Llama or Qwen3 for the same weights, with bidirectional attention."""

    def of_both_directions(folder, prompts, model_type):
        settings = json.loads((folder / "config.json").read_text())
        settings = {key: value for key, value in settings.items() if key not in ("model_type", "num_labels")}
        config = transformers.AutoConfig.for_model(model_type, **settings, is_causal=False)
        config._attn_implementation = "eager"  # noqa: SLF001  which from_pretrained takes as an argument
        model = transformers.AutoModel.from_config(config, dtype=torch.float32).eval()
        tensors = load_file(folder / "model.safetensors")
        heads = {name: tensors.pop(name) for name in ("linear.weight", "score.weight") if name in tensors}
        model.load_state_dict({name.removeprefix("model."): tensor for name, tensor in tensors.items()})
        with torch.inference_mode():
            states = [model(torch.tensor([ids]), use_cache=False).last_hidden_state[0] for ids in prompts]
        return states, heads

    return of_both_directions


def pooled(states, pooling):
    return {"avg": states.mean(dim=0), "cls": states[0], "last": states[-1]}[pooling]


@pytest.mark.parametrize("pooling", ["avg", "cls", "last", None])
def test_bidirectional_llama_pools_by_config_json(tmp_path, load, hidden, of_both_directions, pooling):
    folder = tiny("LlamaBidirectionalModel", tmp_path, pooling=pooling)
    prompts = prompts_of(LENGTHS)
    states, _ = of_both_directions(folder, prompts, "llama")
    llm = load(folder)
    expected = [rows.numpy() for rows in states]
    assert relative_error(hidden(llm, prompts), expected) <= TOLERANCE
    assert relative_error([hidden(llm, prompt)[0] for prompt in prompts], expected) <= TOLERANCE
    for output, rows in zip(llm.embed(prompts, use_tqdm=False), states, strict=True):
        row = torch.nn.functional.normalize(pooled(rows, pooling or "avg"), dim=0)
        np.testing.assert_allclose(output.outputs.array, row, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("pooling", ["avg", "cls", "last"])
@pytest.mark.parametrize("num_labels", [1, 3])
def test_a_bidirectional_classifier_pools_by_config_json(tmp_path, load, of_both_directions, pooling, num_labels):
    name = "LlamaBidirectionalForSequenceClassification"
    folder = tiny(name, tmp_path, pooling=pooling, num_labels=num_labels)
    prompts = prompts_of(LENGTHS)
    states, heads = of_both_directions(folder, prompts, "llama")
    llm = load(folder)
    bare = PoolingParams(use_activation=False)
    outputs = llm.encode(prompts, pooling_task="classify", pooling_params=bare, use_tqdm=False)
    expected = [(heads["score.weight"] @ pooled(rows, pooling)).numpy() for rows in states]
    assert relative_error([output.outputs.array for output in outputs], expected) <= TOLERANCE
    assert ("score" in llm.supported_tasks) is (num_labels == 1)


def test_arguments_take_precedence_over_config_json(tmp_path, load):
    folder = tiny("LlamaBidirectionalModel", tmp_path, pooling="cls")
    assert load(folder).model_config.pooler_config.seq_pooling_type == "CLS"
    pooler_config = load(folder, pooler_config={"pooling_type": "LAST"}).model_config.pooler_config
    assert pooler_config.seq_pooling_type == "LAST"


@pytest.mark.parametrize("pooling", ["colbert", ["avg"]], ids=str)
def test_a_pooling_that_is_not_known_is_refused(tmp_path, load, pooling):
    folder = tiny("LlamaBidirectionalModel", tmp_path, pooling=pooling)
    with pytest.raises(CheckpointError, match=r"pooling must be one of 'avg', 'cls', 'last'; got .*(colbert|avg)"):
        load(folder)


def test_voyage_pools_projected_tokens(tmp_path, load, hidden, of_both_directions):
    folder = tiny("VoyageQwen3BidirectionalEmbedModel", tmp_path)
    prompts = prompts_of(LENGTHS)
    states, heads = of_both_directions(folder, prompts, "qwen3")
    expected = [rows @ heads["linear.weight"].T for rows in states]
    llm = load(folder)
    assert llm.model_config.embedding_size == len(heads["linear.weight"]) == 24
    assert relative_error(hidden(llm, prompts), [rows.numpy() for rows in expected]) <= TOLERANCE
    for prompt, rows in zip(prompts, expected, strict=True):
        (output,) = llm.embed(prompt, use_tqdm=False)
        row = torch.nn.functional.normalize(rows.mean(dim=0), dim=0)
        np.testing.assert_allclose(output.outputs.array, row, rtol=0, atol=TOLERANCE)
    with pytest.raises(InvalidInputError, match="dimensions"):
        llm.embed(prompts, pooling_params=PoolingParams(dimensions=16), use_tqdm=False)


# --- GPT-2 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"n_inner": None},
        {"n_head": 2, "n_layer": 3},
        {"activation_function": "relu"},
        {"activation_function": "gelu"},
        {"layer_norm_epsilon": 0.1},
        {"scale_attn_weights": False},
        {"scale_attn_by_inverse_layer_idx": True},
    ],
    ids=str,
)
def test_gpt2_equals_transformers(tmp_path, load, hidden, reference, change):
    folder = tiny("GPT2Model", tmp_path, **change)
    prompts = prompts_of(LENGTHS)
    expected = reference(folder, prompts)
    llm = load(folder)
    assert relative_error(hidden(llm, prompts), expected) <= TOLERANCE
    assert relative_error([hidden(llm, prompt)[0] for prompt in prompts], expected) <= TOLERANCE


@pytest.mark.parametrize("num_labels", [1, 3])
def test_a_classifier_of_gpt2_equals_transformers(tmp_path, load, transformers, num_labels):
    folder = tiny("GPT2ForSequenceClassification", tmp_path, num_labels=num_labels)
    prompts = prompts_of(LENGTHS)
    model = transformers.GPT2ForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        expected = [model(torch.tensor([prompt])).logits[0].numpy() for prompt in prompts]
    bare = PoolingParams(use_activation=False)
    outputs = load(folder).encode(prompts, pooling_task="classify", pooling_params=bare, use_tqdm=False)
    assert relative_error([output.outputs.array for output in outputs], expected) <= TOLERANCE


def test_masks_in_old_files_of_gpt2_are_ignored(tmp_path, load, hidden):
    folder = tiny("GPT2Model", tmp_path)
    prompts = prompts_of(FEW_LENGTHS)
    expected = hidden(load(folder), prompts)
    masks = {"h.0.attn.bias": torch.ones(1, 1, 64, 64), "h.1.attn.masked_bias": torch.tensor(-1e4)}
    write_weights(folder, {**load_file(folder / "model.safetensors"), **masks})
    assert relative_error(hidden(load(folder), prompts), expected) == 0


def test_gpt2_refuses_texts_longer_than_its_positions(tmp_path, load, monkeypatch):
    monkeypatch.setenv("MILLPOND_ALLOW_LONG_MAX_MODEL_LEN", "1")
    folder = tiny("GPT2Model", tmp_path)
    assert load(folder).model_config.max_model_len == 64
    with pytest.raises(InvalidInputError, match="max_model_len=65 exceeds the 64 position embeddings"):
        load(folder, max_model_len=65)


def test_n_embd_of_gpt2_must_be_divisible_by_n_head(tmp_path, load):
    with pytest.raises(CheckpointError, match="n_embd 32 is not divisible by n_head 5"):
        load(tiny("GPT2Model", tmp_path, n_head=5))


# --- GritLM ---------------------------------------------------------------------------------------------------------


def gritlm_ids(pieces):
    marker_ids = {piece: vocabulary("decoder")[word] for word, piece in MARKER_TOKENS.items()}
    return [marker_ids[piece] if piece in marker_ids else vocabulary("decoder")[piece] for piece in pieces]


USER = ["▁<", "|", "user", "|", ">", "<0x0A>"]
EMBED = ["|", "embed", "|", ">", "<0x0A>"]
TEXT = ["the", "old", "mill"]
PROMPTS = {  # with the number of tokens before the text
    "instruction": (["<s>", *USER, "in", "fish", "<0x0A>", "<", *EMBED, *TEXT], 16),
    "none": (["<s>", "▁<", *EMBED, *TEXT], 7),
    "no marker": (["<s>", *TEXT, "by", "the", "pond"], 1),
    "marker in halves": (["<s>", "▁<", "|", "embed", "|", "mill", ">", "<0x0A>"], 1),
    "no opening": (["<s>", "mill", *EMBED, *TEXT], 1),
    "no text": (["<s>", "▁<", *EMBED], 0),
    "start alone": (["<s>"], 0),
}


def test_gritlm_does_not_pool_instructions(tmp_path, load, hidden, of_both_directions):
    prompts = [gritlm_ids(pieces) for pieces, _ in PROMPTS.values()]
    folder = tiny_gritlm(tmp_path, tie_word_embeddings=True, sliding_window=2)
    change_config(folder, {"sliding_window": None})
    states, _ = of_both_directions(folder, prompts, "mistral")
    change_config(folder, {"sliding_window": 2})
    llm = load(folder)
    assert relative_error(hidden(llm, prompts), [rows.numpy() for rows in states]) <= TOLERANCE
    together = llm.embed(prompts, use_tqdm=False)
    for prompt, output, rows, (_, before) in zip(prompts, together, states, PROMPTS.values(), strict=True):
        row = torch.nn.functional.normalize(rows[before:].mean(dim=0), dim=0)
        np.testing.assert_allclose(output.outputs.array, row, rtol=0, atol=TOLERANCE)
        (alone,) = llm.embed(prompt, use_tqdm=False)
        np.testing.assert_allclose(alone.outputs.array, row, rtol=0, atol=TOLERANCE)


def test_gritlm_warns_about_prompts_without_bos(tmp_path, load, hidden, caplog):
    llm = load(tiny_gritlm(tmp_path))
    prompt = gritlm_ids(["▁<", *EMBED, *TEXT])
    (output,) = llm.embed(prompt, use_tqdm=False)
    mean = hidden(llm, prompt)[0].mean(axis=0)
    np.testing.assert_allclose(output.outputs.array, mean / np.linalg.norm(mean), rtol=0, atol=TOLERANCE)
    assert "does not begin with <s>" in caplog.text


def test_gritlm_needs_the_tokens_of_its_marker(tmp_path, load):
    folder = change_config(tiny("MistralForCausalLM", tmp_path), {"architectures": ["GritLM"]})
    with pytest.raises(CheckpointError, match=r"GritLM finds the text .* has no token '▁<'"):
        load(folder)


@pytest.mark.parametrize("settings", [{}, {"quantization": "int8"}], ids=str)
def test_gritlm_is_bit_identical_in_every_batch(tmp_path, load, settings):
    llm = load(tiny_gritlm(tmp_path), batch_invariant=True, **settings)
    prompts = [[1, *prompt[1:]] for prompt in prompts_of(LENGTHS)]
    together = llm.embed(prompts, use_tqdm=False)
    for prompt, output in zip(prompts, together, strict=True):
        np.testing.assert_array_equal(llm.embed(prompt, use_tqdm=False)[0].outputs.array, output.outputs.array)
