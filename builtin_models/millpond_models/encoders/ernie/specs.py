"""Specs of ERNIE and its published models."""

from millpond_models.spec_helpers.architectures import encoder_family
from millpond_models.spec_helpers.published import models

ARCHITECTURES = encoder_family(
    "Ernie",
    model="millpond_models.encoders.ernie.model:ErnieModel",
    heads="millpond_models.encoders.ernie.model:Ernie",
    summary="ERNIE (Sun et al., 2020): BERT with task type embeddings",
    positions="absolute",
)
PUBLISHED = (
    *models("ErnieModel", "shibing624/text2vec-base-chinese-sentence"),
    *models("ErnieForSequenceClassification", "Forrest20231206/ernie-3.0-base-zh-cls"),
    *models("ErnieForTokenClassification", "gyr66/Ernie-3.0-base-chinese-finetuned-ner"),
)
