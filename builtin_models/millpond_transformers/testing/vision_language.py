"""Tiny checkpoints of vision-language models, written by model classes of transformers.

They have random parameters, a tokenizer with image tokens and image preprocessor settings.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from millpond.testing.tokenizers import PAD, UNKNOWN, byte_tokenizer

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
CLASSES: Mapping[str, str] = MappingProxyType(
    {
        "qwen2_vl": "Qwen2VLForConditionalGeneration",
        "qwen2_5_vl": "Qwen2_5_VLForConditionalGeneration",
        "qwen3_vl": "Qwen3VLForConditionalGeneration",
        "llava_next": "LlavaNextForConditionalGeneration",
    }
)
QWEN_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<|im_start|>", "<|im_end|>")
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% endif %}<|im_end|>\n{% endfor %}"
)


@dataclass(frozen=True, kw_only=True)
class TinyVision:
    """A small vision-language model.

    Attributes:
        config: Keys of config.json.
        images: Content of preprocessor_config.json.
        tokens: The special tokens of its tokenizer besides padding.
        named: Other keys of tokenizer_config.json.
        chat_template: The chat template.
        files: Other files, by name.
    """

    config: dict[str, Any]
    images: dict[str, Any]
    tokens: tuple[str, ...] = QWEN_TOKENS
    named: dict[str, Any] = field(default_factory=dict)
    chat_template: str | None = CHATML
    files: dict[str, Any] = field(default_factory=dict)


def randomised(model: PreTrainedModel, *, seed: int = 0) -> PreTrainedModel:
    """Set all parameters to random values that preserve the scale of activations, and return the model."""
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        for name, parameter in model.named_parameters():
            mean = 1.0 if parameter.dim() == 1 and "norm" in name.lower() and name.endswith("weight") else 0.0
            fan_in = parameter[0].numel() if parameter.dim() > 1 else 1
            scale = 0.2 if parameter.dim() == 1 else fan_in**-0.5
            parameter.copy_(mean + scale * torch.randn(parameter.shape, generator=generator))
    model.train(mode=False)
    model.requires_grad_(requires_grad=False)
    return model


def write_vision_language(model: PreTrainedModel, settings: TinyVision, folder: Path) -> Path:
    """Write a model of transformers with all other files.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    byte_tokenizer(settings.tokens).save(str(folder / "tokenizer.json"))
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": PAD, "eos_token": PAD, **settings.named}
    if settings.chat_template is not None:
        named["chat_template"] = settings.chat_template
    files = {"tokenizer_config.json": named, "preprocessor_config.json": settings.images, **settings.files}
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def token_id(settings: TinyVision, token: str) -> int:
    """Return the ID of a special token."""
    return [PAD, UNKNOWN, *settings.tokens].index(token)


def tiny_vision_language(kind: str, folder: Path, *, seed: int = 0) -> Path:
    """Write a small checkpoint of one of ``CLASSES``.

    Args:
        kind: Its ``model_type``, such as "qwen2_vl".
        folder: The folder to write.
        seed: Seed of the random weights.

    Returns:
        The folder.
    """
    settings = llava_next() if kind == "llava_next" else qwen_vl(kind)
    return write_vision_language(build(kind, settings, seed=seed), settings, folder)


def tiny_vision_reranker(folder: Path) -> TinyVision:
    """Write a small Qwen3-VL with "yes" and "no" among its tokens, which rerankers answer with.

    Returns:
        Its settings.
    """
    base = qwen_vl("qwen3_vl")
    text = {**base.config["text_config"], "max_position_embeddings": 2048}
    settings = replace(base, tokens=(*base.tokens, "yes", "no"), config={**base.config, "text_config": text})
    write_vision_language(build("qwen3_vl", settings), settings, folder)
    return settings


def build(kind: str, settings: TinyVision, *, seed: int = 0) -> PreTrainedModel:
    """Build the model of transformers for a small configuration."""
    model_class: type[PreTrainedModel] = getattr(transformers, CLASSES[kind])
    assert model_class.config_class is not None, "model classes have a config class"  # noqa: S101
    return randomised(model_class(model_class.config_class.from_dict(settings.config)), seed=seed)


def qwen_vl(kind: str) -> TinyVision:
    """Return Qwen2-VL ("qwen2_vl"), Qwen2.5-VL ("qwen2_5_vl") or Qwen3-VL ("qwen3_vl")."""
    patch = 16 if kind == "qwen3_vl" else 14
    base = TinyVision(config={}, images={})
    vision: dict[str, Any] = {"depth": 2, "num_heads": 2, "patch_size": patch, "spatial_merge_size": 2}
    rope: dict[str, Any] = {"rope_theta": 10000.0, "mrope_section": [1, 1, 2], "rope_type": "default"}
    if kind == "qwen2_vl":
        vision |= {"embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2}
    else:
        vision |= {"hidden_size": 32, "out_hidden_size": 32, "intermediate_size": 48}
    if kind == "qwen2_5_vl":
        vision |= {"fullatt_block_indexes": [1], "window_size": 56}
    if kind == "qwen3_vl":
        vision |= {"deepstack_visual_indexes": [0], "num_position_embeddings": 64}
        rope |= {"mrope_interleaved": True}
    text = {**TEXT, "vocab_size": 264 + 8, "head_dim": 8, "rope_parameters": rope, "pad_token_id": 0}
    config = {
        "text_config": text,
        "vision_config": vision,
        "image_token_id": token_id(base, "<|image_pad|>"),
        "video_token_id": token_id(base, "<|video_pad|>"),
        "vision_start_token_id": token_id(base, "<|vision_start|>"),
        "vision_end_token_id": token_id(base, "<|vision_end|>"),
        "tie_word_embeddings": False,
    }
    images = {
        "image_processor_type": "Qwen2VLImageProcessorFast" if kind == "qwen3_vl" else "Qwen2VLImageProcessor",
        "patch_size": patch,
        "merge_size": 2,
        "temporal_patch_size": 2,
        "size": {"shortest_edge": 4 * patch * patch * 4, "longest_edge": 48 * patch * patch * 4},
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.5, 0.6, 0.7],
    }
    return TinyVision(config=config, images=images)


def llava_next() -> TinyVision:
    """Return LLaVA-NeXT with CLIP's vision encoder and a Llama."""
    tokens = ("<image>", "<s>")
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 7,
        "projection_dim": 16,
    }
    text = {**TEXT, "model_type": "llama", "vocab_size": 264, "pad_token_id": 0}
    pinpoints = [[28, 56], [56, 28], [56, 56]]
    config = {
        "text_config": text,
        "vision_config": vision,
        "image_token_index": 2,
        "image_grid_pinpoints": pinpoints,
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
    }
    images = {
        "image_processor_type": "LlavaNextImageProcessor",
        "size": {"shortest_edge": 28},
        "crop_size": {"height": 28, "width": 28},
        "image_grid_pinpoints": pinpoints,
        "do_center_crop": True,
    }
    return TinyVision(config=config, images=images, tokens=tokens, named={"bos_token": "<s>"}, chat_template=None)
