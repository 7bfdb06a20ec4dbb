"""Tiny checkpoints of reward models, whose heads are named differently from those of classifiers."""

import json

from safetensors.torch import load_file

from millpond.testing import checkpoints


def qwen_reward(folder, architecture, num_labels):
    """Write a Qwen2 model with two linear layers after it."""
    checkpoints.tiny("Qwen2Model", folder)
    shapes = {"score.0.weight": (32, 32), "score.0.bias": (32,)}
    shapes |= {"score.2.weight": (num_labels, 32), "score.2.bias": (num_labels,)}
    tensors = load_file(folder / "model.safetensors") | checkpoints.random_tensors(shapes, seed=5)
    checkpoints.write_weights(folder, tensors)
    config = json.loads((folder / "config.json").read_text())
    checkpoints.write_config(folder, {**config, "architectures": [architecture]})
    return folder


def internlm_reward(folder):
    """Write an InternLM2 model with one value per token."""
    config = {
        "architectures": ["InternLM2ForRewardModel"],
        "model_type": "internlm2",
        "vocab_size": len(checkpoints.vocabulary("decoder")),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "bias": False,
    }
    layer = {
        "attention_norm.weight": (32,),
        "attention.wqkv.weight": (64, 32),
        "attention.wo.weight": (32, 32),
        "ffn_norm.weight": (32,),
        "feed_forward.w1.weight": (48, 32),
        "feed_forward.w2.weight": (32, 48),
        "feed_forward.w3.weight": (48, 32),
    }
    shapes = {f"model.layers.0.{name}": shape for name, shape in layer.items()}
    shapes |= {"model.tok_embeddings.weight": (config["vocab_size"], 32), "model.norm.weight": (32,)}
    shapes["v_head.weight"] = (1, 32)
    checkpoints.write_config(folder, config)
    checkpoints.write_weights(folder, checkpoints.random_tensors(shapes))
    checkpoints.write_tokenizer(folder, "decoder")
    return folder
