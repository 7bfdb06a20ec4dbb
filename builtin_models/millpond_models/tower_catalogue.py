"""The records of models that read text and images. Without torch: ``plugin.py`` yields them."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from millpond.plugin.specs import ArchitectureSpec, PublishedModel
from millpond_models.records import EMBEDDING_TASKS

BOTH = ("text", "image")
# What transformers takes where config.json does not say: published files name what differs, and often nothing.
CLIP_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "projection_dim": 512,
        "text_config": {
            "vocab_size": 49408,
            "hidden_size": 512,
            "intermediate_size": 2048,
            "num_hidden_layers": 12,
            "num_attention_heads": 8,
            "max_position_embeddings": 77,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5,
        },
        "vision_config": {
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "num_channels": 3,
            "image_size": 224,
            "patch_size": 32,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5,
        },
    }
)
SIGLIP_TOWER: Mapping[str, Any] = MappingProxyType(
    {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "hidden_act": "gelu_pytorch_tanh",
        "layer_norm_eps": 1e-6,
    }
)
SIGLIP_TEXT: Mapping[str, Any] = MappingProxyType(
    {**SIGLIP_TOWER, "vocab_size": 32000, "max_position_embeddings": 64, "pad_token_id": 1}
)
SIGLIP_VISION: Mapping[str, Any] = MappingProxyType(
    {**SIGLIP_TOWER, "num_channels": 3, "patch_size": 16, "vision_use_head": True}
)

# SigLIP 2 of one shape is published as SigLIP; only its NaFlex models read images of any.
PUBLISHED: Mapping[str, tuple[PublishedModel, ...]] = MappingProxyType(
    {
        "SiglipModel": (
            PublishedModel(name="google/siglip-base-patch16-224"),
            PublishedModel(name="google/siglip-so400m-patch14-384"),
            PublishedModel(name="google/siglip2-base-patch16-224"),
        ),
        "Siglip2Model": (PublishedModel(name="google/siglip2-base-patch16-naflex"),),
    }
)


def two_towers() -> Iterator[ArchitectureSpec]:
    """A tower of text and one of images, whose vectors can be compared."""
    yield ArchitectureSpec(
        name="CLIPModel",
        target="millpond_models.vision.clip.model:CLIPModel",
        summary="CLIP: text or an image (Radford et al., 2021)",
        tasks=EMBEDDING_TASKS,
        modalities=BOTH,
        pooling="LAST",
        positions="absolute",
        defaults=CLIP_DEFAULTS,
        size_keys=("projection_dim",),
        published=(
            PublishedModel(name="openai/clip-vit-base-patch32"),
            PublishedModel(name="openai/clip-vit-large-patch14"),
        ),
    )
    shapes = {"SiglipModel": ("SigLIP: text or an image (Zhai et al., 2023)", {"image_size": 224})}
    shapes["Siglip2Model"] = ("SigLIP 2: text or an image of any shape (Tschannen et al., 2025)", {"num_patches": 256})
    for name, (summary, shape) in shapes.items():
        yield ArchitectureSpec(
            name=name,
            target=f"millpond_models.vision.siglip.model:{name}",
            summary=summary,
            tasks=EMBEDDING_TASKS,
            modalities=BOTH,
            pooling="LAST",
            positions="absolute",
            defaults={"text_config": dict(SIGLIP_TEXT), "vision_config": {**SIGLIP_VISION, **shape}},
            size_keys=("text_config.projection_size", "text_config.hidden_size"),
            fills_length=True,
            lower_case=name == "Siglip2Model",
            published=PUBLISHED[name],
        )
