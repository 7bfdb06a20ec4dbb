"""Tiny checkpoints of Ministral 3: two layers, positions scaled from 16 to 64."""

from pathlib import Path
from typing import Any, Final

from millpond.testing.checkpoints import random_tensors, vocabulary, write_config, write_tokenizer, write_weights
from millpond_models.testing.decoders import decoder_shapes

ROPE: Final = {
    "rope_type": "yarn",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.5,
}


def tiny(architecture: str, folder: Path | str, *, seed: int = 0, tokenizer: bool = True, **overrides: Any) -> Path:
    """Write a checkpoint of ``Ministral3Model`` or ``Ministral3ForCausalLM``.

    Args:
        architecture: The architecture in config.json.
        folder: The folder to write.
        seed: Seed of the random weights.
        tokenizer: False to omit the tokenizer.
        **overrides: Keys of config.json.

    Returns:
        The folder.
    """
    tokens = vocabulary("decoder")
    config = {
        "architectures": [architecture],
        "model_type": "ministral3",
        "vocab_size": len(tokens),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "hidden_act": "silu",
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "rope_parameters": ROPE,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "pad_token_id": tokens["<pad>"],
        "bos_token_id": tokens["<s>"],
        "eos_token_id": tokens["</s>"],
        "dtype": "float32",
        **overrides,
    }
    path = Path(folder)
    write_config(path, {key: value for key, value in config.items() if value is not None})
    write_weights(path, random_tensors(decoder_shapes(config), seed=seed))
    if tokenizer:
        write_tokenizer(path, "decoder")
    return path
