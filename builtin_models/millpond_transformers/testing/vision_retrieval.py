"""Tiny checkpoints of late-interaction models for page images, such as ColPali."""

from collections.abc import Callable, Mapping
from pathlib import Path

import transformers
from transformers import PreTrainedModel

from millpond.testing.tokenizers import PAD
from millpond_transformers.testing.vision_language import (
    QWEN_TOKENS,
    TEXT,
    TinyVision,
    qwen_vl,
    randomised,
    write_vision_language,
)

EMBEDDING_DIM = 16
SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 7,
}
PALI_TOKENS = ("<image>", "<s>")
VBERT_TOKENS = (
    "[CLS]",
    "[SEP]",
    "<image>",
    "<fake_token_around_image>",
    "<global-img>",
    "<end_of_utterance>",
    "<|begin_of_text|>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)),
)


def tiny_vision_retrieval(name: str, folder: Path, *, seed: int = 0) -> Path:
    """Write a small checkpoint of one of ``MODELS``.

    Args:
        name: Its class in transformers, such as "ColPaliForRetrieval".
        folder: The folder to write.
        seed: Seed of the random weights.

    Returns:
        The folder.
    """
    settings = MODELS[name]()
    return write_vision_language(build_retrieval(name, settings, seed=seed), settings, folder)


def build_retrieval(name: str, settings: TinyVision, *, seed: int = 0) -> PreTrainedModel:
    """Build the model of transformers for a small configuration."""
    model_class: type[PreTrainedModel] = getattr(transformers, name)
    assert model_class.config_class is not None, "model classes have a config class"  # noqa: S101
    return randomised(model_class(model_class.config_class.from_dict(settings.config)), seed=seed)


def col_pali() -> TinyVision:
    """Return ColPali with SigLIP's vision encoder and a Gemma, with 16 tokens per image."""
    text = {**TEXT, "model_type": "gemma", "vocab_size": 264, "head_dim": 8, "pad_token_id": 0}
    vision = {**SIGLIP, "projection_dim": 32, "vision_use_head": False}
    vlm = {"model_type": "paligemma", "text_config": text, "vision_config": vision, "projection_dim": 32}
    config = {"model_type": "colpali", "embedding_dim": EMBEDDING_DIM, "vlm_config": {**vlm, "image_token_index": 2}}
    images = {
        "image_processor_type": "SiglipImageProcessor",
        "processor_class": "ColPaliProcessor",
        "size": {"height": 28, "width": 28},
        "image_seq_length": 16,
        "image_mean": [0.5, 0.4, 0.3],
    }
    return TinyVision(config=config, images=images, tokens=PALI_TOKENS, named={"bos_token": "<s>"}, chat_template=None)


def col_qwen2() -> TinyVision:
    """Return ColQwen2, whose tokens per image depend on the size; its chat template is that of Qwen2-VL."""
    base = qwen_vl("qwen2_vl")
    config = {
        "model_type": "colqwen2",
        "embedding_dim": EMBEDDING_DIM,
        "vlm_config": {"model_type": "qwen2_vl", **base.config},
    }
    processor = {"processor_class": "ColQwen2Processor", "query_prefix": "Ask: "}
    return TinyVision(config=config, images=base.images, tokens=QWEN_TOKENS, files={"processor_config.json": processor})


def col_modern_vbert() -> TinyVision:
    """Return ColModernVBert with SigLIP's vision encoder and a ModernBERT, with 4 tokens per tile."""
    text = {
        **{key: value for key, value in TEXT.items() if key != "num_key_value_heads"},
        "model_type": "modernbert",
        "vocab_size": 288,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "cls_token_id": 2,
        "sep_token_id": 3,
    }
    vlm = {
        "model_type": "modernvbert",
        "text_config": text,
        "vision_config": SIGLIP,
        "image_token_id": 4,
        "pixel_shuffle_factor": 2,
    }
    images = {
        "image_processor_type": "Idefics3ImageProcessor",
        "size": {"longest_edge": 56},
        "max_image_size": {"longest_edge": 28},
    }
    return TinyVision(
        config={"model_type": "colmodernvbert", "embedding_dim": EMBEDDING_DIM, "vlm_config": vlm},
        images=images,
        tokens=VBERT_TOKENS,
        named={"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": PAD},
        chat_template=None,
        files={"processor_config.json": {"image_seq_len": 4}},
    )


MODELS: Mapping[str, Callable[[], TinyVision]] = {
    "ColModernVBertForRetrieval": col_modern_vbert,
    "ColPaliForRetrieval": col_pali,
    "ColQwen2ForRetrieval": col_qwen2,
}
