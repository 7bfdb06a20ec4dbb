"""Tiny checkpoints of Llama Nemotron VL, with the tensor names of the published files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import processors
from transformers import LlamaConfig, LlamaModel, SiglipVisionConfig, SiglipVisionModel

from millpond.testing.checkpoints import Shape, random_tensors, write_config, write_weights
from millpond.testing.tokenizers import PAD, UNKNOWN, byte_tokenizer

BOS, IMAGE_CONTEXT = "<|begin_of_text|>", "<IMG_CONTEXT>"
TOKENS = (BOS, "<img>", "</img>", IMAGE_CONTEXT)
IMAGE_CONTEXT_ID = [PAD, UNKNOWN, *TOKENS].index(IMAGE_CONTEXT)
TILE_SIZE = 32  # pixels
TEXT: Mapping[str, Any] = {
    "architectures": ["LlamaBidirectionalModel"],
    "vocab_size": 2 + len(TOKENS) + 256,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pooling": "avg",
}
VISION: Mapping[str, Any] = {
    "model_type": "siglip_vision_model",
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "image_size": TILE_SIZE,
    "patch_size": 8,
}
CONFIG: Mapping[str, Any] = {
    "model_type": "llama_nemotron_vl",
    "force_image_size": TILE_SIZE,
    "downsample_ratio": 0.5,
    "select_layer": -1,
    "img_context_token_id": IMAGE_CONTEXT_ID,
    "llm_config": TEXT,
    "vision_config": VISION,
}
PROCESSOR: Mapping[str, Any] = {
    "image_size": TILE_SIZE,
    "max_input_tiles": 6,
    "use_thumbnail": True,
    "norm_type": "siglip",
}


def tiny_nemotron_vl(
    folder: Path, *, num_labels: int = 0, processor: Mapping[str, Any] = PROCESSOR, **config: Any
) -> Path:
    """Write a checkpoint of LlamaNemotronVLModel.

    Args:
        folder: The folder to write.
        num_labels: Number of labels; 0 for the embedding model, more for the reranker.
        processor: Content of processor_config.json.
        **config: Other keys of config.json.

    Returns:
        The folder.
    """
    values = {**CONFIG, **config}
    shapes = nemotron_vl_shapes(values)
    name = "LlamaNemotronVLModel"
    if num_labels:
        name = "LlamaNemotronVLForSequenceClassification"
        values |= {"num_labels": num_labels, "pooling": "avg"}
        score = {"score.weight": (num_labels, values["llm_config"]["hidden_size"])}
        shapes = {f"model.{key}": shape for key, shape in shapes.items()} | score
    write_config(folder, {"architectures": [name], **values})
    write_weights(folder, random_tensors(shapes))
    tokenizer = byte_tokenizer(TOKENS)
    special = [(BOS, tokenizer.token_to_id(BOS))]
    tokenizer.post_processor = processors.TemplateProcessing(f"{BOS} $A", f"{BOS} $A {BOS} $B:1", special)
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "pad_token": PAD}
    for file, content in (("tokenizer_config.json", named), ("processor_config.json", processor)):
        (folder / file).write_text(json.dumps(dict(content)), encoding="utf-8")
    return folder


def nemotron_vl_shapes(config: Mapping[str, Any]) -> dict[str, Shape]:
    """Return the tensor shapes of SigLIP's vision encoder, the Llama and the projector, by their published names."""
    text, vision = config["llm_config"], config["vision_config"]
    with torch.device("meta"):
        vision_model = SiglipVisionModel(SiglipVisionConfig(**vision))
        llama = LlamaModel(LlamaConfig(**text))
    vision_state = {name.removeprefix("vision_model."): tensor for name, tensor in vision_model.state_dict().items()}
    block_size, size = 4 * vision["hidden_size"], text["hidden_size"]
    return {
        **{f"vision_model.vision_model.{name}": tuple(tensor.shape) for name, tensor in vision_state.items()},
        **{f"language_model.{name}": tuple(tensor.shape) for name, tensor in llama.state_dict().items()},
        **{f"mlp1.0.{kind}": (block_size,) for kind in ("weight", "bias")},
        "mlp1.1.weight": (size, block_size),
        "mlp1.1.bias": (size,),
        "mlp1.3.weight": (size, size),
        "mlp1.3.bias": (size,),
    }
