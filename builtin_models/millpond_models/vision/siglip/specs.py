"""Specs of SigLIP and SigLIP 2, and of their published models."""

from millpond.plugin.specs import (
    ArchitectureSpec,
    CheckpointLayout,
    ModelExtras,
    OutputShape,
    PoolingDefaults,
    TextInput,
)
from millpond_models.spec_helpers.architectures import EMBEDDING_TASKS
from millpond_models.spec_helpers.published import models
from millpond_models.vision.siglip_defaults import SIGLIP_TEXT, SIGLIP_VISION


def _spec(name: str, summary: str, shape: dict[str, int], *, lowercase: bool) -> ArchitectureSpec:
    return ArchitectureSpec(
        name=name,
        target=f"millpond_models.vision.siglip.model:{name}",
        summary=summary,
        tasks=EMBEDDING_TASKS,
        modalities=("text", "image"),
        pooling=PoolingDefaults("LAST"),
        output=OutputShape(size_keys=("text_config.projection_size", "text_config.hidden_size")),
        text=TextInput(positions="absolute", pad_to_max_length=True, lowercase=lowercase),
        checkpoint=CheckpointLayout(
            config_defaults={"text_config": dict(SIGLIP_TEXT), "vision_config": {**SIGLIP_VISION, **shape}}
        ),
        extras=ModelExtras(tiny="millpond_models.testing.dual_encoders:tiny_dual_encoder"),
    )


ARCHITECTURES = (
    _spec("SiglipModel", "SigLIP: text or an image (Zhai et al., 2023)", {"image_size": 224}, lowercase=False),
    _spec(
        "Siglip2Model",
        "SigLIP 2: text or an image of any aspect ratio (Tschannen et al., 2025)",
        {"num_patches": 256},
        lowercase=True,
    ),
)
# Fixed-resolution models of SigLIP 2 are published as SigLIP; only NaFlex models need Siglip2Model.
PUBLISHED = (
    *models(
        "SiglipModel",
        "google/siglip-base-patch16-224",
        "google/siglip-so400m-patch14-384",
        "google/siglip2-base-patch16-224",
    ),
    *models("Siglip2Model", "google/siglip2-base-patch16-naflex"),
)
