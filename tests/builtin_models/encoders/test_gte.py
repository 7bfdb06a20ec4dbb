"""GTE, with and without a classifier: equal to transformers with the frequencies of the formula."""

import json
from functools import partial, reduce
from math import exp, log

import numpy as np
import pytest
import torch
from model_kit import min_embedding_cosine
from safetensors.torch import load_file

from millpond import CheckpointError, PoolingParams
from millpond.testing.checkpoints import tiny, vocabulary
from millpond.testing.comparisons import ABSENT, change_config, random_prompts, relative_error, rewrite

VOCABULARY = len(vocabulary("bert"))
prompts_of = partial(random_prompts, VOCABULARY)
LENGTHS = (1, 2, 3, 64, 5, 8, 63, 13, 1, 21, 34, 47, 2, 64, 30, 9)
FEW_LENGTHS = (1, 9, 40)
BACKBONES = ("GteModel", "GteNewModel", "NewModel")
CLASSIFIERS = ("GteNewForSequenceClassification", "NewForSequenceClassification")
NAMES = (
    ("encoder.layer.", "layers."),
    ("attention.o_proj", "self_attn.o_proj"),
    ("attn_ln", "post_attention_layernorm"),
    ("mlp_ln", "post_mlp_layernorm"),
)


def as_in_transformers(tensors):
    """Return the tensors by transformers' names, where query, key, value, up and gate are separate."""
    state = {}
    for name, tensor in tensors.items():
        new = reduce(lambda text, pair: text.replace(*pair), NAMES, name.removeprefix("new."))
        for fused, parts in (("attention.qkv_proj", "q k v"), ("mlp.up_gate_proj", "up gate")):
            if fused in new:
                home = "self_attn" if "attention" in fused else "mlp"
                chunks = zip(parts.split(), tensor.chunk(len(parts.split())), strict=True)
                state |= {new.replace(fused, f"{home}.{part}_proj"): values for part, values in chunks}
                break
        else:
            state[new.replace("attention.", "self_attn.")] = tensor
    return {name: values for name, values in state.items() if not name.startswith(("pooler", "classifier"))}


def frequencies(config):
    """Return the angles per position, by the formulas of the article that introduced ntk and its mixed form."""
    size = config["hidden_size"] // config["num_attention_heads"]
    scaling = config.get("rope_scaling") or {}
    factor, mixed = scaling.get("factor", 1.0), scaling.get("mixed_b")
    slower = []
    for m in range(1, size // 2 + 1):
        if mixed is None:
            slower.append(factor ** (2 * m / size))
        else:
            slower.append(exp(log(factor) / (size / 2) ** mixed * m**mixed))
    return torch.tensor([config["rope_theta"] ** (-2 * i / size) / slower[i] for i in range(size // 2)])


@pytest.fixture(scope="session")
def reference(transformers):
    """The hidden states of transformers."""

    def reference(folder, prompts, *, dtype=torch.float32):
        config = json.loads((folder / "config.json").read_text())
        keys = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        model_config = transformers.GteConfig(
            **{key: config[key] for key in (*keys, "hidden_act", "layer_norm_eps", "type_vocab_size")},
            rope_parameters={"rope_type": "default", "rope_theta": config["rope_theta"]},
        )
        model = transformers.GteModel(model_config)
        model.load_state_dict(as_in_transformers(load_file(folder / "model.safetensors")))
        model.rotary_emb.inv_freq.copy_(frequencies(config))
        model = model.eval().to(dtype)
        with torch.inference_mode():
            return [model(torch.tensor([ids])).last_hidden_state[0].float().numpy() for ids in prompts]

    return reference


@pytest.fixture(scope="session")
def logits(reference):
    """The logits of a classifier, from the hidden states of transformers."""

    def logits(folder, prompts, rows=slice(1)):
        tensors = {name: tensor.numpy() for name, tensor in load_file(folder / "model.safetensors").items()}
        logits_by_prompt = []
        for states in reference(folder, prompts):
            dense = states[rows] @ tensors["new.pooler.dense.weight"].T + tensors["new.pooler.dense.bias"]
            logits_by_prompt.append(np.tanh(dense) @ tensors["classifier.weight"].T + tensors["classifier.bias"])
        return logits_by_prompt

    return logits


@pytest.mark.parametrize("name", BACKBONES)
def test_a_batch_of_mixed_lengths_equals_transformers(tmp_path, assert_equal_in_any_batch, reference, name):
    folder = tiny(name, tmp_path)
    prompts = prompts_of(LENGTHS)
    assert_equal_in_any_batch(folder, prompts, reference(folder, prompts))


@pytest.mark.parametrize(
    "shape",
    [
        {"hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 7, "num_hidden_layers": 3},
        {"layer_norm_eps": 0.1},
        {"rope_theta": 500.0},
        {"rope_scaling": None},
        {"rope_scaling": {"type": "ntk", "factor": 2.0}},
        {"rope_scaling": {"rope_type": "ntk", "factor": 8.0, "mixed_b": 0.625}},
        {"type_vocab_size": 0},
        {"type_vocab_size": 2},
        {"hidden_act": "silu"},
    ],
    ids=str,
)
@pytest.mark.parametrize("deterministic", [False, True])
def test_the_shape_in_config_json_is_used(tmp_path, load, hidden, reference, shape, deterministic):
    folder = tiny("NewModel", tmp_path, **shape)
    prompts = prompts_of(FEW_LENGTHS)
    actual = hidden(load(folder, batch_invariant=deterministic), prompts)
    assert relative_error(actual, reference(folder, prompts)) <= 1e-5


@pytest.mark.parametrize("name", BACKBONES)
def test_missing_keys_have_the_defaults_of_the_model_type(tmp_path, load, hidden, transformers, name):
    folder, prompts = tiny(name, tmp_path, rope_scaling=None), prompts_of(FEW_LENGTHS)
    theta = transformers.GteConfig().rope_parameters["rope_theta"] if name == "GteModel" else 10_000.0
    expected = hidden(load(change_config(folder, {"rope_theta": theta})), prompts)
    actual = hidden(load(change_config(folder, {"rope_theta": ABSENT, "type_vocab_size": ABSENT})), prompts)
    assert relative_error(actual, expected) == 0
    other = hidden(load(change_config(folder, {"rope_theta": 2000.0})), prompts)
    assert relative_error(other, expected) > 1e-3


def test_ntk_is_a_linear_scaling_of_a_larger_base(tmp_path, load, hidden, transformers):
    """Like transformers' conversion of gte-multilingual-base, which does not support this rope type."""
    prompts = prompts_of(FEW_LENGTHS)
    folder = tiny("NewModel", tmp_path)
    actual = hidden(load(folder), prompts)
    same = {"rope_theta": 160000.0, "rope_scaling": {"type": "linear", "factor": 8.0 ** (2 / 8)}}
    assert relative_error(hidden(load(folder, hf_overrides=same), prompts), actual) <= 1e-5
    assert relative_error(hidden(load(folder, hf_overrides={"rope_scaling": None}), prompts), actual) > 1e-3


def test_query_key_and_value_may_be_apart(tmp_path, load, hidden):
    def split(tensors):
        separate = dict(tensors)
        for name in tensors:
            if "qkv_proj" in name:
                for part, values in zip("qkv", separate.pop(name).chunk(3), strict=True):
                    separate[name.replace("qkv_proj", f"{part}_proj")] = values.clone()
        return separate

    prompts = prompts_of(FEW_LENGTHS)
    folder = rewrite(tiny("GteModel", tmp_path / "b"), split)
    assert relative_error(hidden(load(folder), prompts), hidden(load(tiny("GteModel", tmp_path / "a")), prompts)) == 0
    written = tiny("GteModel", tmp_path / "c", pack_qkv=False)
    assert set(load_file(written / "model.safetensors")) == set(load_file(folder / "model.safetensors"))


def test_weights_of_a_head_are_left_out(tmp_path, load, hidden):
    prompts = prompts_of(FEW_LENGTHS)
    classifier = tiny(CLASSIFIERS[1], tmp_path / "classifier")
    llm = load(classifier, hf_overrides={"architectures": ["GteNewModel"]})
    assert relative_error(hidden(llm, prompts), hidden(load(tiny("NewModel", tmp_path / "bare")), prompts)) == 0


def test_the_first_of_several_architectures_serves(tmp_path, load):
    """The published gte-multilingual-base has two labels."""
    llm = load(tiny("NewModel", tmp_path, architectures=["NewModel", "NewForTokenClassification"]))
    assert llm.model_config.architecture == "NewModel"
    assert llm.model_config.tasks == ("embed", "token_embed")
    assert llm.model_config.pooler_config.seq_pooling_type == "CLS"


def test_checkpoints_saved_by_transformers_are_loaded(tmp_path, load, hidden, transformers):
    torch.manual_seed(4)
    settings = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    model = transformers.GteModel(transformers.GteConfig(vocab_size=50, max_position_embeddings=40, **settings)).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(tmp_path)
    llm = load(tmp_path)
    assert llm.model_config.max_model_len == 40
    prompts = [list(range(10, 48)), [7]]
    with torch.inference_mode():
        expected = [model(torch.tensor([prompt])).last_hidden_state[0].numpy() for prompt in prompts]
    assert relative_error(hidden(llm, prompts), expected) <= 1e-5


def test_bfloat16_is_near_transformers(tmp_path, load, hidden, reference):
    folder = tiny("NewModel", tmp_path)
    prompts = prompts_of(LENGTHS)
    exact = reference(folder, prompts)
    assert 1e-4 < relative_error(hidden(load(folder, dtype="bfloat16"), prompts), exact) <= 3e-2


def test_int8_is_near_float32(tmp_path, load):
    folder = tiny("NewModel", tmp_path, hidden_size=128, intermediate_size=256)
    prompts = prompts_of(LENGTHS)
    assert 0.99 < min_embedding_cosine(load, folder, prompts, quantization="int8") < 1 - 1e-7


@pytest.mark.parametrize("settings", [{}, {"quantization": "int8"}, {"dtype": "bfloat16"}], ids=str)
def test_deterministic_results_are_bit_identical_in_every_batch(tmp_path, load, hidden, settings):
    folder = tiny("NewModel", tmp_path, intermediate_size=50)
    prompts = prompts_of(LENGTHS)
    together = hidden(load(folder, batch_invariant=True, **settings), prompts)
    small = load(folder, batch_invariant=True, max_num_batched_tokens=40, max_num_seqs=3, **settings)
    assert all(map(np.array_equal, hidden(small, prompts), together))
    assert all(np.array_equal(hidden(small, prompt)[0], rows) for prompt, rows in zip(prompts, together, strict=True))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_text_classes_equal_a_tanh_layer_and_a_linear_layer(tmp_path, load, logits, name):
    folder = tiny(name, tmp_path, num_labels=3)
    prompts = prompts_of(LENGTHS)
    llm = load(folder)
    outputs = llm.classify(prompts, use_tqdm=False)
    expected = [torch.tensor(rows[0]).softmax(-1).numpy() for rows in logits(folder, prompts)]
    assert relative_error([output.outputs.array for output in outputs], expected) <= 1e-5
    bare = llm.classify(prompts, pooling_params=PoolingParams(use_activation=False), use_tqdm=False)
    assert (
        relative_error([output.outputs.array for output in bare], [rows[0] for rows in logits(folder, prompts)]) <= 1e-5
    )


def test_classes_of_tokens_are_those_of_the_same_head(tmp_path, load, logits):
    folder = tiny(CLASSIFIERS[0], tmp_path, num_labels=3)
    prompts = prompts_of(FEW_LENGTHS)
    outputs = load(folder).encode(prompts, pooling_task="token_classify", use_tqdm=False)
    expected = [torch.tensor(rows).softmax(-1).numpy() for rows in logits(folder, prompts, rows=slice(None))]
    assert relative_error([output.outputs.array for output in outputs], expected) <= 1e-5


@pytest.mark.parametrize("name", ["NewForTokenClassification", "GteNewForTokenClassification"])
def test_a_token_classifier_is_a_linear_layer_on_each_token(tmp_path, load, reference, name):
    folder = tiny(name, tmp_path, num_labels=3)
    prompts = prompts_of(LENGTHS)
    llm = load(folder)
    assert llm.model_config.tasks == ("token_classify",)
    tensors = {name: tensor.numpy() for name, tensor in load_file(folder / "model.safetensors").items()}
    expected = [
        rows @ tensors["classifier.weight"].T + tensors["classifier.bias"] for rows in reference(folder, prompts)
    ]
    bare = PoolingParams(use_activation=False)
    outputs = llm.encode(prompts, pooling_task="token_classify", pooling_params=bare, use_tqdm=False)
    assert relative_error([output.outputs.array for output in outputs], expected) <= 1e-5


@pytest.mark.parametrize("head", ["ForSequenceClassification", "ForTokenClassification"])
def test_classifiers_saved_by_transformers_are_loaded(tmp_path, load, transformers, head):
    torch.manual_seed(4)
    settings = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    config = transformers.GteConfig(vocab_size=50, max_position_embeddings=40, num_labels=3, **settings)
    model = getattr(transformers, f"Gte{head}")(config).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(tmp_path)
    prompts = [list(range(10, 48)), [7]]
    with torch.inference_mode():
        expected = [model(torch.tensor([prompt])).logits[0].numpy() for prompt in prompts]
    task = "classify" if "Sequence" in head else "token_classify"
    bare = PoolingParams(use_activation=False)
    outputs = load(tmp_path).encode(prompts, pooling_task=task, pooling_params=bare, use_tqdm=False)
    assert relative_error([output.outputs.array for output in outputs], expected) <= 1e-5


def test_pairs_are_scored_by_one_label(tmp_path, load, logits):
    folder = tiny(CLASSIFIERS[1], tmp_path, num_labels=1)
    (output,) = load(folder).score("the old mill", "by the pond", use_tqdm=False)
    (expected,) = logits(change_config(folder, {}), [output.prompt_token_ids])
    assert abs(output.outputs.score - 1 / (1 + exp(-expected[0, 0]))) <= 1e-5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"position_embedding_type": "absolute"}, r"'absolute' for GteModel\. Supported: 'rope'$"),
        ({"layer_norm_type": "rms_norm"}, r"layer_norm_type 'rms_norm' for GteModel\. Supported: 'layer_norm'"),
        ({"logn_attention_scale": True}, "unsupported logn_attention_scale True for GteModel"),
        ({"rope_scaling": {"type": "ntk"}}, "'ntk' requires a number 'factor'; got None"),
        ({"rope_scaling": {"type": "ntk", "factor": 2.0, "mixed_b": "x"}}, "a number 'mixed_b'; got 'x'"),
        ({"num_attention_heads": 5}, "num_attention_heads 5"),
        ({"type_vocab_size": 0}, r"unused \(1\): new\.embeddings\.token_type_embeddings\.weight"),
    ],
    ids=str,
)
def test_a_config_that_does_not_fit_is_a_checkpoint_error(tmp_path, load, change, message):
    with pytest.raises(CheckpointError, match=message):
        load(change_config(tiny("GteNewModel", tmp_path), change))
