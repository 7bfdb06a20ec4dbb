"""Specs of MPNet and its published models."""

from millpond_models.spec_helpers.architectures import encoder_family
from millpond_models.spec_helpers.published import models

ARCHITECTURES = encoder_family(
    "MPNet",
    model="millpond_models.encoders.mpnet.model:MPNetModel",
    heads="millpond_models.encoders.mpnet.model:MPNet",
    summary="MPNet (Song et al., 2020): BERT with a relative position bias",
    positions="absolute_after_pad",
)
PUBLISHED = models(
    "MPNetModel", "sentence-transformers/all-mpnet-base-v2", "sentence-transformers/multi-qa-mpnet-base-dot-v1"
)
