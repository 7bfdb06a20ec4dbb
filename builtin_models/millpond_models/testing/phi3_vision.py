"""Tiny checkpoints of Phi-3-vision in the published layout: tensors, tokenizer and settings."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millpond.testing.checkpoints import Shape, random_tensors, vocabulary, write_config, write_tokenizer, write_weights
from millpond_models.testing.decoders import decoder_shapes
from millpond_models.testing.shapes import clip_layer_shapes, linear_shapes, norm_shapes

IMAGES: Mapping[str, Any] = {
    "image_processor_type": "Phi3VImageProcessor",
    "processor_class": "Phi3VProcessor",
    "auto_map": {"AutoProcessor": "processing_phi3_v.Phi3VProcessor"},
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "num_img_tokens": 144,
}
PUBLISHED: Mapping[str, Any] = {
    "architectures": ["Phi3VForCausalLM"],
    "auto_map": {"AutoModelForCausalLM": "modeling_phi3_v.Phi3VForCausalLM"},
    "model_type": "phi3_v",
    "embd_layer": {
        "embedding_cls": "image",
        "hd_transform_order": "sub_glb",
        "projection_cls": "mlp",
        "use_hd_transform": True,
        "with_learnable_separator": True,
    },
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}
IMG_PROCESSOR: Mapping[str, Any] = {
    "model_name": "openai/clip-vit-large-patch14-336",
    "name": "clip_vision_model",
    "num_img_tokens": 144,
}
MAX_LENGTH = 2048


def tiny_phi3_vision(
    folder: Path, *, seed: int = 0, num_crops: int = 4, chat_template: str | None = None, **overrides: Any
) -> Path:
    """Write a checkpoint whose crops are 28 by 28 pixels, 4 by 4 patches.

    Args:
        folder: The folder to write.
        seed: Seed of the random weights.
        num_crops: Maximum number of crops of an image.
        chat_template: The chat template in tokenizer_config.json.
        **overrides: Other keys of config.json.

    Returns:
        The folder.
    """
    vision = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 3}
    config = {
        **PUBLISHED,
        "vocab_size": len(vocabulary("decoder")),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": MAX_LENGTH,
        "original_max_position_embeddings": 100,
        "rope_scaling": {
            "type": "su",
            "short_factor": [1.0, 1.1, 1.3, 1.7],
            "long_factor": [1.2, 2.0, 3.5, 6.0],
        },
        "sliding_window": MAX_LENGTH,
        "img_processor": {**IMG_PROCESSOR, "image_dim_out": vision["hidden_size"]},
        "vision_config": {**vision, "image_size": 28, "patch_size": 7, "num_channels": 3},
        **overrides,
    }
    write_config(folder, config)
    write_weights(folder, random_tensors(phi3_vision_shapes(config), seed=seed))
    write_tokenizer(folder, "decoder", max_length=MAX_LENGTH)
    if chat_template is not None:
        path = folder / "tokenizer_config.json"
        tokenizer_config = {**json.loads(path.read_text(encoding="utf-8")), "chat_template": chat_template}
        path.write_text(json.dumps(tokenizer_config), encoding="utf-8")
    images = json.dumps({**IMAGES, "num_crops": num_crops})
    (folder / "preprocessor_config.json").write_text(images, encoding="utf-8")
    return folder


def phi3_vision_shapes(config: Mapping[str, Any]) -> dict[str, Shape]:
    """Return the tensor shapes of a checkpoint by their published names."""
    vision, size = config["vision_config"], config["hidden_size"]
    vision_size, inner = vision["hidden_size"], vision["intermediate_size"]
    encoder = "model.vision_embed_tokens.img_processor.vision_model"
    shapes: dict[str, Shape] = {
        **decoder_shapes({**config, "architectures": ["Phi3ForCausalLM"]}),
        "model.vision_embed_tokens.glb_GN": (1, 1, 4 * vision_size),
        "model.vision_embed_tokens.sub_GN": (1, 1, 1, 4 * vision_size),
        **linear_shapes("model.vision_embed_tokens.img_projection.0", 4 * vision_size, size),
        **linear_shapes("model.vision_embed_tokens.img_projection.2", size, size),
        f"{encoder}.embeddings.class_embedding": (vision_size,),
        f"{encoder}.embeddings.patch_embedding.weight": (vision_size, 3, vision["patch_size"], vision["patch_size"]),
        f"{encoder}.embeddings.position_embedding.weight": (
            (vision["image_size"] // vision["patch_size"]) ** 2 + 1,
            vision_size,
        ),
    }
    for norm in ("pre_layrnorm", "post_layernorm"):
        shapes |= norm_shapes(f"{encoder}.{norm}", vision_size)
    return shapes | clip_layer_shapes(encoder, vision_size, inner, vision["num_hidden_layers"])
