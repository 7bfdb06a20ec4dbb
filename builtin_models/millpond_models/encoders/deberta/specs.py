"""Specs of DeBERTa and its published models."""

from millpond_models.spec_helpers.architectures import encoder_family
from millpond_models.spec_helpers.published import models

ARCHITECTURES = encoder_family(
    "DebertaV2",
    model="millpond_models.encoders.deberta.model:DebertaV2Model",
    heads="millpond_models.encoders.deberta.heads:DebertaV2",
    summary="DeBERTa v2 and v3 (He et al., 2021), with disentangled attention",
    positions="absolute",
)
PUBLISHED = (
    *models("DebertaV2Model", "microsoft/deberta-v3-base"),
    *models(
        "DebertaV2ForSequenceClassification",
        "mixedbread-ai/mxbai-rerank-xsmall-v1",
        "mixedbread-ai/mxbai-rerank-base-v1",
        "mixedbread-ai/mxbai-rerank-large-v1",
    ),
)
