"""Tiny checkpoints of CLIP and SigLIP: config.json, weights, tokenizer and image preprocessor settings."""

import json
from math import prod
from pathlib import Path
from typing import Any

import torch

from millpond.testing.checkpoints import Shape, vocabulary, write_config, write_tokenizer, write_weights
from millpond_models.testing.gemma_tokenizer import BOS, EOS, PAD, gemma_vocabulary, write_gemma_tokenizer
from millpond_models.testing.shapes import clip_layer_shapes, linear_shapes, norm_shapes

TEXT_SIZE, VISION_SIZE, INTERMEDIATE_SIZE, NUM_LAYERS, PATCH_SIZE, MAX_LENGTH = 32, 24, 40, 2, 8, 20
PROJECTION_DIM = 16  # of CLIP; SigLIP projects texts to the size of the vision encoder
PROCESSORS: dict[str, dict[str, Any]] = {
    "CLIPModel": {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 32},
        "crop_size": {"height": 32, "width": 32},
    },
    "SiglipModel": {"image_processor_type": "SiglipImageProcessor", "size": {"height": 36, "width": 36}},
    "Siglip2Model": {
        "image_processor_type": "Siglip2ImageProcessor",
        "patch_size": PATCH_SIZE,
        "max_num_patches": 20,
        "do_convert_rgb": True,
    },
}
SHAPES = {"CLIPModel": {"image_size": 32}, "SiglipModel": {"image_size": 36}, "Siglip2Model": {"num_patches": 16}}
MODEL_TYPES = {"CLIPModel": "clip", "SiglipModel": "siglip", "Siglip2Model": "siglip2"}


def tiny_dual_encoder(name: str, folder: Path, *, seed: int = 0, processor: dict[str, Any] | None = None) -> Path:
    """Write the checkpoint of "CLIPModel", "SiglipModel" or "Siglip2Model".

    Args:
        name: The architecture.
        folder: The folder to write.
        seed: Seed of the random weights.
        processor: Content of preprocessor_config.json; by default, images of the model's size.

    Returns:
        The folder.
    """
    config = _config(name)
    write_config(folder, config)
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        key: torch.randn(shape, generator=generator) * (prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.3)
        for key, shape in _shapes(name, config).items()
    }
    tensors |= {key: tensor + 1 for key, tensor in tensors.items() if "norm" in key and key.endswith("weight")}
    write_weights(folder, tensors)
    if name == "Siglip2Model":
        write_gemma_tokenizer(folder, max_length=MAX_LENGTH)
    else:
        write_tokenizer(folder, "bert", max_length=MAX_LENGTH)
    settings = PROCESSORS[name] if processor is None else processor
    (folder / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def _config(name: str) -> dict[str, Any]:
    common = {"intermediate_size": INTERMEDIATE_SIZE, "num_hidden_layers": NUM_LAYERS}
    tokens = gemma_vocabulary() if name == "Siglip2Model" else vocabulary("bert")
    start, end, padding = (BOS, EOS, PAD) if name == "Siglip2Model" else ("[CLS]", "[SEP]", "[PAD]")
    text = {
        **common,
        "hidden_size": TEXT_SIZE,
        "num_attention_heads": 4,
        "vocab_size": len(tokens),
        "max_position_embeddings": MAX_LENGTH,
        "bos_token_id": tokens[start],
        "eos_token_id": tokens[end],
        "pad_token_id": tokens[padding],
    }
    vision = {**common, "hidden_size": VISION_SIZE, "num_attention_heads": 3, "patch_size": PATCH_SIZE, **SHAPES[name]}
    projection = {"projection_dim": PROJECTION_DIM} if name == "CLIPModel" else {}
    if not projection:
        text["projection_size"] = VISION_SIZE
    parts = {"text_config": text, "vision_config": vision}
    return {"architectures": [name], "model_type": MODEL_TYPES[name], **projection, **parts}


def _shapes(name: str, config: dict[str, Any]) -> dict[str, Shape]:
    text, vision = config["text_config"], config["vision_config"]
    patch_values = PATCH_SIZE * PATCH_SIZE * 3
    shapes: dict[str, Shape] = {
        "logit_scale": (),
        "text_model.embeddings.token_embedding.weight": (text["vocab_size"], TEXT_SIZE),
        "text_model.embeddings.position_embedding.weight": (MAX_LENGTH, TEXT_SIZE),
        "vision_model.embeddings.patch_embedding.weight": (VISION_SIZE, 3, PATCH_SIZE, PATCH_SIZE),
        **norm_shapes("text_model.final_layer_norm", TEXT_SIZE),
        **norm_shapes("vision_model.post_layernorm", VISION_SIZE),
        **clip_layer_shapes("text_model", TEXT_SIZE, INTERMEDIATE_SIZE, NUM_LAYERS),
        **clip_layer_shapes("vision_model", VISION_SIZE, INTERMEDIATE_SIZE, NUM_LAYERS),
    }
    if name == "CLIPModel":
        positions = (vision["image_size"] // PATCH_SIZE) ** 2 + 1
        shapes |= {
            "vision_model.embeddings.class_embedding": (VISION_SIZE,),
            "text_projection.weight": (PROJECTION_DIM, TEXT_SIZE),
            "visual_projection.weight": (PROJECTION_DIM, VISION_SIZE),
            **norm_shapes("vision_model.pre_layrnorm", VISION_SIZE),
        }
    else:
        positions = vision["num_patches"] if name == "Siglip2Model" else (vision["image_size"] // PATCH_SIZE) ** 2
        head = "vision_model.head"
        shapes |= {
            "logit_bias": (1,),
            "logit_scale": (1,),
            "vision_model.embeddings.patch_embedding.bias": (VISION_SIZE,),
            f"{head}.probe": (1, 1, VISION_SIZE),
            f"{head}.attention.in_proj_weight": (3 * VISION_SIZE, VISION_SIZE),
            f"{head}.attention.in_proj_bias": (3 * VISION_SIZE,),
            **linear_shapes("text_model.head", TEXT_SIZE, VISION_SIZE),
            **linear_shapes(f"{head}.attention.out_proj", VISION_SIZE, VISION_SIZE),
            **norm_shapes(f"{head}.layernorm", VISION_SIZE),
            **linear_shapes(f"{head}.mlp.fc1", VISION_SIZE, INTERMEDIATE_SIZE),
            **linear_shapes(f"{head}.mlp.fc2", INTERMEDIATE_SIZE, VISION_SIZE),
        }
        if name == "Siglip2Model":
            shapes["vision_model.embeddings.patch_embedding.weight"] = (VISION_SIZE, patch_values)
    return {**shapes, "vision_model.embeddings.position_embedding.weight": (positions, VISION_SIZE)}
