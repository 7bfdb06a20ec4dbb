"""Writes small random checkpoints in the format of the package gliner, for tests."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import AddedToken, Tokenizer

from millpond.testing.checkpoints import random_tensors, tiny, write_weights
from millpond_gliner.model import ENCODER, ENCODER_PREFIX

LABEL, SEPARATOR = "<<ENT>>", "<<SEP>>"
EMBEDDINGS = f"{ENCODER_PREFIX}embeddings.word_embeddings.weight"
LABEL_WEIGHT, LABEL_SCALE = "prompt_rep_layer.3.weight", 4  # probabilities on both sides of 0.5
CONFIG = {"max_width": 4, "hidden_size": 24, "max_len": 40, "num_rnn_layers": 1, "span_mode": "markerV0"}


def write_tiny(architecture: str, folder: Path | str, *, seed: int = 0, **options: Any) -> Path:  # noqa: ARG001
    """Write gliner_config.json, weights and a tokenizer; other options are keys of gliner_config.json."""
    folder = tiny(ENCODER, folder, seed=seed)
    encoder = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").unlink()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in (LABEL, SEPARATOR)])
    tokenizer.save(str(folder / "tokenizer.json"))
    tensors = {f"{ENCODER_PREFIX}{name}": tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    vocabulary = tokenizer.get_vocab_size()
    rows = random_tensors({EMBEDDINGS: (vocabulary, encoder["hidden_size"])}, seed=seed + 2)[EMBEDDINGS]
    rows[: len(tensors[EMBEDDINGS])] = tensors[EMBEDDINGS][:vocabulary]
    config = {**CONFIG, **options, "ent_token": LABEL, "sep_token": SEPARATOR, "model_name": "tiny"}
    config |= {
        "encoder_config": {**encoder, "vocab_size": vocabulary},
        "class_token_index": tokenizer.token_to_id(LABEL),
        "vocab_size": vocabulary,
    }
    head = random_tensors(_head_shapes(config, encoder["hidden_size"]), seed=seed + 1)
    head[LABEL_WEIGHT] = LABEL_SCALE * head[LABEL_WEIGHT]
    write_weights(folder, tensors | {EMBEDDINGS: rows} | head)
    (folder / "gliner_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return folder


def _head_shapes(config: dict[str, Any], encoder_size: int) -> dict[str, torch.Size]:
    """Return the shapes of the head's tensors, with the names that the package gliner writes."""
    size = config["hidden_size"]
    shapes: dict[str, tuple[int, ...]] = {}
    if size != encoder_size:
        shapes |= {
            "token_rep_layer.projection.weight": (size, encoder_size),
            "token_rep_layer.projection.bias": (size,),
        }
    for layer in range(config["num_rnn_layers"]):
        for suffix in (f"l{layer}", f"l{layer}_reverse"):
            shapes |= {f"rnn.lstm.weight_ih_{suffix}": (2 * size, size), f"rnn.lstm.bias_ih_{suffix}": (2 * size,)}
            shapes |= {f"rnn.lstm.weight_hh_{suffix}": (2 * size, size // 2), f"rnn.lstm.bias_hh_{suffix}": (2 * size,)}
    inputs = {f"span_rep_layer.span_rep_layer.project_{it}": size for it in ("start", "end")}
    inputs |= {"span_rep_layer.span_rep_layer.out_project": 2 * size, "prompt_rep_layer": size}
    for name, input_size in inputs.items():
        shapes |= {f"{name}.0.weight": (4 * size, input_size), f"{name}.0.bias": (4 * size,)}
        shapes |= {f"{name}.3.weight": (size, 4 * size), f"{name}.3.bias": (size,)}
    return {name: torch.Size(shape) for name, shape in shapes.items()}
