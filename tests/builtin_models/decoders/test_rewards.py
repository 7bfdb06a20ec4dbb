"""Reward models: Qwen2 compared with transformers and plain torch, InternLM2 with a reference implementation."""

import numpy as np
import pytest
import torch
from model_kit import RAW, difference, load_module, run_task, softmax, step_prompts
from safetensors.torch import load_file, save_file
from torch.nn import functional

from millpond import CheckpointError, InvalidInputError, PoolingParams
from millpond.nn import Linear
from millpond.testing.checkpoints import (
    random_tensors,
    tiny,
    vocabulary,
    write_config,
    write_tokenizer,
    write_weights,
)

WORDS = vocabulary("decoder")
TAG = WORDS["so"]
LENGTHS = (1, 2, 3, 64, 5, 8, 63, 13, 1, 21, 34, 47, 2, 64, 30, 7)
FEW_LENGTHS = (1, 9, 40)
TOLERANCE = 1e-5  # relative to the largest value if that is above 1


def outputs_of(llm, prompts, params=None, task="token_classify"):
    return run_task(llm, prompts, task, params)


# --- Qwen2 ----------------------------------------------------------------------------------------------------------


def qwen(folder, kind, *, labels, prefix="model.", **more):
    """Write a Qwen2 with two linear layers after it, with the published names."""
    tiny("Qwen2Model", folder, architectures=["Qwen2Model"], prefix=prefix, **more)
    shapes = {
        "score.0.weight": (32, 32),
        "score.0.bias": (32,),
        "score.2.weight": (labels, 32),
        "score.2.bias": (labels,),
    }
    head = random_tensors(shapes, seed=5, dtype=more.get("dtype", "float32"))
    path = folder / "model.safetensors"
    save_file(load_file(path) | head, path)
    config = folder / "config.json"
    config.write_text(config.read_text().replace("Qwen2Model", kind))
    return folder


@pytest.fixture(scope="session")
def qwen_logits(transformers):
    """Hidden states of transformers' Qwen2Model, then ``score.2(relu(score.0(x)))`` in plain torch."""

    def qwen_logits(folder, prompts):
        config = transformers.AutoConfig.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
        tensors = {
            name.removeprefix("model."): t.float() for name, t in load_file(folder / "model.safetensors").items()
        }
        head = {name: tensors.pop(name) for name in list(tensors) if name.startswith("score")}
        model = transformers.Qwen2Model(config).eval()
        model.load_state_dict(tensors)
        logits = []
        with torch.inference_mode():
            for ids in prompts:
                states = model(torch.tensor([ids]), use_cache=False).last_hidden_state[0]
                inner = torch.relu(states @ head["score.0.weight"].T + head["score.0.bias"])
                logits.append((inner @ head["score.2.weight"].T + head["score.2.bias"]).numpy())
        return logits

    return qwen_logits


def test_one_reward_per_token_equals_transformers(tmp_path, load, qwen_logits):
    folder = qwen(tmp_path, "Qwen2ForRewardModel", labels=1)
    prompts = step_prompts(LENGTHS)
    llm = load(folder)
    assert llm.model_config.tasks == ("token_classify",)
    assert (llm.model_config.classification.num_labels, llm.model_config.pooler_config.use_activation) == (1, False)
    expected = qwen_logits(folder, prompts)
    together = outputs_of(llm, prompts)
    assert difference(together, expected) <= TOLERANCE
    assert difference([outputs_of(llm, prompt)[0] for prompt in prompts], together) <= TOLERANCE
    outputs = llm.reward(prompts, use_tqdm=False)
    assert difference([output.outputs.array for output in outputs], expected) <= TOLERANCE


def test_a_reward_is_activated_on_request(tmp_path, load, qwen_logits):
    folder = qwen(tmp_path, "Qwen2ForRewardModel", labels=1)
    prompts = step_prompts(FEW_LENGTHS)
    expected = [1 / (1 + np.exp(-rows)) for rows in qwen_logits(folder, prompts)]
    assert difference(outputs_of(load(folder), prompts, PoolingParams(use_activation=True)), expected) <= TOLERANCE
    assert difference(outputs_of(load(folder, pooler_config={"use_activation": True}), prompts), expected) <= TOLERANCE


def test_rewards_are_calibrated(tmp_path, load, qwen_logits):
    folder = qwen(tmp_path, "Qwen2ForRewardModel", labels=1)
    prompts = step_prompts(FEW_LENGTHS)
    expected = [(rows - 0.5) / 2 for rows in qwen_logits(folder, prompts)]
    assert (
        difference(outputs_of(load(folder, pooler_config={"logit_mean": 0.5, "logit_sigma": 2}), prompts), expected)
        <= TOLERANCE
    )


def test_steps_are_rated_at_their_tag(tmp_path, load, qwen_logits):
    folder = qwen(tmp_path, "Qwen2ForProcessRewardModel", labels=2)
    prompts = step_prompts(LENGTHS)
    assert not all(TAG in ids for ids in prompts)
    rows = [row[np.array(ids) == TAG] for row, ids in zip(qwen_logits(folder, prompts), prompts, strict=True)]
    llm = load(folder, pooler_config={"step_tag_id": TAG})
    assert llm.model_config.classification.num_labels == 2
    together = outputs_of(llm, prompts)
    assert {array.shape[0] for array in together} >= {0, 1}
    assert difference(together, list(map(softmax, rows))) <= TOLERANCE
    assert difference([outputs_of(llm, prompt)[0] for prompt in prompts], together) <= TOLERANCE
    assert difference(outputs_of(llm, prompts, RAW), rows) <= TOLERANCE
    chosen = PoolingParams(returned_token_ids=(1,))
    assert difference(outputs_of(llm, prompts, chosen), [softmax(row)[:, [1]] for row in rows]) <= TOLERANCE


def test_the_default_tag_is_that_of_the_published_model(tmp_path, load, qwen_logits):
    folder = qwen(tmp_path, "Qwen2ForProcessRewardModel", labels=2)
    llm = load(folder)
    config = llm.model_config.pooler_config
    assert (config.tok_pooling_type, config.step_tag_id) == ("STEP", 151651)
    prompts = step_prompts(FEW_LENGTHS)
    assert [rows.shape for rows in outputs_of(llm, prompts)] == [(0, 2)] * len(FEW_LENGTHS)
    other = PoolingParams(step_tag_id=prompts[1][0])
    expected = [
        softmax(rows[np.array(ids) == prompts[1][0]])
        for rows, ids in zip(qwen_logits(folder, prompts), prompts, strict=True)
    ]
    assert difference(outputs_of(llm, prompts, other), expected) <= TOLERANCE


def test_other_pooling_types_rate_every_token(tmp_path, load, qwen_logits):
    folder = qwen(tmp_path, "Qwen2ForProcessRewardModel", labels=2)
    llm = load(folder, pooler_config={"pooling_type": "ALL"})
    prompts = step_prompts(FEW_LENGTHS)
    assert difference(outputs_of(llm, prompts), list(map(softmax, qwen_logits(folder, prompts)))) <= TOLERANCE
    with pytest.raises(InvalidInputError, match="step_tag_id") as caught:
        outputs_of(llm, prompts, PoolingParams(step_tag_id=TAG))
    assert caught.value.parameter == "step_tag_id"


def test_unknown_classes_are_refused_by_name(tmp_path, load):
    llm = load(qwen(tmp_path, "Qwen2ForProcessRewardModel", labels=2), pooler_config={"step_tag_id": TAG})
    with pytest.raises(InvalidInputError, match=r"returned_token_ids=\[2\]: the model has 2 classes") as caught:
        outputs_of(llm, [[5, TAG]], PoolingParams(returned_token_ids=(2,)))
    assert caught.value.parameter == "returned_token_ids"


@pytest.mark.parametrize("kind", ["Qwen2ForRewardModel", "Qwen2ForProcessRewardModel"])
@pytest.mark.parametrize("lost", ["score.0.weight", "score.2.bias"])
def test_a_missing_tensor_of_the_head_is_named(tmp_path, load, kind, lost):
    folder = qwen(tmp_path, kind, labels=1 if kind == "Qwen2ForRewardModel" else 2)
    path = folder / "model.safetensors"
    save_file({name: tensor for name, tensor in load_file(path).items() if name != lost}, path)
    with pytest.raises(CheckpointError, match=rf"architecture '{kind}': missing \(1\): classifier\.\w+\.\w+$"):
        load(folder)


def test_a_head_of_another_width_is_refused(tmp_path, load):
    with pytest.raises(
        CheckpointError, match=r"\[3, 32\], config\.json implies \[2, 32\]|\[3\], config\.json implies \[2\]"
    ):
        load(qwen(tmp_path, "Qwen2ForProcessRewardModel", labels=3))


@pytest.mark.parametrize("settings", [{"dtype": "bfloat16"}, {"quantization": "int8"}], ids=str)
def test_heads_stay_in_float32(tmp_path, settings):
    model = load_module(qwen(tmp_path, "Qwen2ForRewardModel", labels=1), **settings)
    assert {m.dtype for m in model.classifier.modules() if isinstance(m, Linear)} == {torch.float32}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_16_bit_checkpoint_in_float32_equals_transformers(tmp_path, load, qwen_logits, dtype):
    folder = qwen(tmp_path, "Qwen2ForRewardModel", labels=1, dtype=dtype)
    prompts = step_prompts(FEW_LENGTHS)
    assert difference(outputs_of(load(folder, dtype="float32"), prompts), qwen_logits(folder, prompts)) <= TOLERANCE


@pytest.mark.parametrize("kind", ["Qwen2ForRewardModel", "Qwen2ForProcessRewardModel"])
def test_batch_invariant_results_do_not_depend_on_the_batch(tmp_path, load, kind):
    config = {"step_tag_id": TAG} if "Process" in kind else {}
    folder = qwen(tmp_path, kind, labels=2 if config else 1)
    llm = load(folder, batch_invariant=True, pooler_config=config)
    prompts = step_prompts(LENGTHS)
    alone = [outputs_of(llm, prompt)[0] for prompt in prompts]
    for order in (slice(None), slice(None, None, -1), slice(3, 9)):
        together = outputs_of(llm, prompts[order])
        assert all(np.array_equal(one, other) for one, other in zip(together, alone[order], strict=True))


# --- InternLM2 ------------------------------------------------------------------------------------------------------

HEADS, KEYS, SIZE = 4, 2, 8
CONFIG = {
    "architectures": ["InternLM2ForRewardModel"],
    "model_type": "internlm2",
    "vocab_size": len(WORDS),
    "hidden_size": HEADS * SIZE,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KEYS,
    "intermediate_size": 48,
    "hidden_act": "silu",
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1_000_000,
    "bias": False,
    "reward_token_id": WORDS["</s>"],
    "tie_word_embeddings": False,
    "dtype": "float32",
}


def internlm(folder, *, head=True, **changes):
    config = {**CONFIG, **changes}
    size, inner, keys = config["hidden_size"], config["intermediate_size"], config["num_key_value_heads"]
    head_dim = size // config["num_attention_heads"]
    shapes = {"model.tok_embeddings.weight": (len(WORDS), size)}
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}"
        fused = size + 2 * keys * head_dim
        shapes |= {
            f"{name}.attention_norm.weight": (size,),
            f"{name}.attention.wqkv.weight": (fused, size),
            f"{name}.attention.wo.weight": (size, size),
            f"{name}.ffn_norm.weight": (size,),
            f"{name}.feed_forward.w1.weight": (inner, size),
            f"{name}.feed_forward.w3.weight": (inner, size),
            f"{name}.feed_forward.w2.weight": (size, inner),
        }
        if config["bias"]:
            shapes |= {f"{name}.attention.wqkv.bias": (fused,), f"{name}.attention.wo.bias": (size,)}
    shapes |= {"model.norm.weight": (size,)}
    shapes |= {"v_head.weight": (1, size)} if head else {"output.weight": (len(WORDS), size)}
    write_config(folder, config)
    write_weights(folder, random_tensors(shapes, seed=2, dtype=config["dtype"]))
    write_tokenizer(folder, "decoder")
    return folder


def rms_norm(x, weight, eps):
    return weight * x / (x.square().mean(-1, keepdim=True) + eps).sqrt()


def rotate(x, theta):
    """Rotate [num_heads, length, size] by the positions of the tokens."""
    length, size = x.shape[-2:]
    speed = theta ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * speed
    cos, sin = (torch.cat([part, part], dim=-1) for part in (angle.cos(), angle.sin()))
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def internlm_states(folder, ids, config):
    """Return the final hidden states of InternLM2, computed one head at a time in float64."""
    w = {name: tensor.double() for name, tensor in load_file(folder / "model.safetensors").items()}
    heads, keys, eps = config["num_attention_heads"], config["num_key_value_heads"], config["rms_norm_eps"]
    head_dim, shared = config["hidden_size"] // heads, heads // keys
    x = w["model.tok_embeddings.weight"][ids]
    later = torch.ones(len(ids), len(ids)).triu(1).bool()
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}"
        normed = rms_norm(x, w[f"{name}.attention_norm.weight"], eps)
        fused = normed @ w[f"{name}.attention.wqkv.weight"].T + w.get(f"{name}.attention.wqkv.bias", 0)
        out = []
        for key_head in range(keys):
            group = fused[:, key_head * (shared + 2) * head_dim : (key_head + 1) * (shared + 2) * head_dim]
            parts = group.split(head_dim, dim=-1)
            key, value = rotate(parts[-2], config["rope_theta"]), parts[-1]
            for query in parts[:-2]:
                scores = rotate(query, config["rope_theta"]) @ key.T / head_dim**0.5
                out.append(scores.masked_fill(later, -torch.inf).softmax(-1) @ value)
        x = x + torch.cat(out, dim=-1) @ w[f"{name}.attention.wo.weight"].T + w.get(f"{name}.attention.wo.bias", 0)
        normed = rms_norm(x, w[f"{name}.ffn_norm.weight"], eps)
        gate = functional.silu(normed @ w[f"{name}.feed_forward.w1.weight"].T)
        x = x + (gate * (normed @ w[f"{name}.feed_forward.w3.weight"].T)) @ w[f"{name}.feed_forward.w2.weight"].T
    return rms_norm(x, w["model.norm.weight"], eps), w.get("v_head.weight")


def internlm_rewards(folder, prompts, **changes):
    states = [internlm_states(folder, ids, {**CONFIG, **changes}) for ids in prompts]
    return [(rows @ head.T).numpy() for rows, head in states]


@pytest.mark.parametrize(
    "changes",
    [{}, {"bias": True}, {"num_key_value_heads": HEADS}, {"num_key_value_heads": 1}, {"rope_theta": 10000.0}],
    ids=str,
)
def test_internlm2_equals_the_reference_implementation(tmp_path, load, changes):
    folder = internlm(tmp_path, **changes)
    prompts = step_prompts(LENGTHS if not changes else FEW_LENGTHS)
    expected = internlm_rewards(folder, prompts, **changes)
    llm = load(folder)
    assert llm.model_config.tasks == ("token_classify",)
    together = outputs_of(llm, prompts, RAW)
    assert difference(together, expected) <= TOLERANCE
    assert difference([outputs_of(llm, prompt, RAW)[0] for prompt in prompts], together) <= TOLERANCE
    assert difference(outputs_of(llm, prompts), [1 / (1 + np.exp(-rows)) for rows in expected]) <= TOLERANCE


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_internlm2_of_16_bits_in_float32(tmp_path, load, dtype):
    folder = internlm(tmp_path, dtype=dtype)
    prompts = step_prompts(FEW_LENGTHS)
    assert (
        difference(outputs_of(load(folder, dtype="float32"), prompts, RAW), internlm_rewards(folder, prompts))
        <= TOLERANCE
    )


def test_internlm2_in_16_bits_keeps_its_head(tmp_path, load):
    folder = internlm(tmp_path)
    assert load_module(folder, dtype="bfloat16").classifier.dtype == torch.float32
    prompts = step_prompts(FEW_LENGTHS)
    assert (
        0
        < difference(outputs_of(load(folder, dtype="bfloat16"), prompts, RAW), internlm_rewards(folder, prompts))
        <= 5e-2
    )


@pytest.mark.parametrize("architecture", ["InternLM2Model", "InternLM2ForCausalLM"])
def test_internlm2_embeds(tmp_path, load, architecture):
    folder = internlm(tmp_path, head=False, architectures=[architecture])
    prompts = step_prompts(FEW_LENGTHS)
    last = [internlm_states(folder, ids, CONFIG)[0][-1].numpy() for ids in prompts]
    expected = [row / np.linalg.norm(row) for row in last]
    assert difference(outputs_of(load(folder), prompts, task="embed"), expected) <= TOLERANCE


def test_internlm2_classifies_and_rates_steps_by_its_vocabulary(tmp_path, load):
    folder = internlm(tmp_path, head=False, architectures=["InternLM2ForCausalLM"])
    prompts = step_prompts(FEW_LENGTHS)
    states = [internlm_states(folder, ids, CONFIG)[0] for ids in prompts]
    output = load_file(folder / "model.safetensors")["output.weight"].double()[[7, 9]]
    settings = {"architectures": ["InternLM2ForSequenceClassification"], "classifier_from_token_ids": [7, 9]}
    expected = [(rows[-1] @ output.T).numpy() for rows in states]
    assert (
        difference(outputs_of(load(folder, hf_overrides=settings), prompts, RAW, task="classify"), expected)
        <= TOLERANCE
    )
    asked = PoolingParams(returned_token_ids=(7, 9))
    expected = [
        softmax((rows[np.array(ids) == TAG] @ output.T).numpy()) for rows, ids in zip(states, prompts, strict=True)
    ]
    judge = load(folder, pooler_config={"pooling_type": "STEP", "step_tag_id": TAG})
    assert difference(outputs_of(judge, prompts, asked), expected) <= TOLERANCE


def test_a_fused_map_of_another_size_is_refused(tmp_path, load):
    with pytest.raises(CheckpointError, match=r"wqkv\.weight has the shape \[64, 32\], .* implies 96 rows"):
        load(internlm(tmp_path), hf_overrides={"num_key_value_heads": 4})


def test_a_fused_map_that_is_missing_is_named(tmp_path, load):
    folder = internlm(tmp_path)
    path = folder / "model.safetensors"
    lost = "model.layers.1.attention.wqkv.weight"
    save_file({name: tensor for name, tensor in load_file(path).items() if name != lost}, path)
    with pytest.raises(CheckpointError, match=r"missing \(1\): layers\.1\.attention\.qkv\.weight$"):
        load(folder)
