"""Specs of GPT-2 and its published models."""

from millpond.plugin.specs import TextInput
from millpond_models.spec_helpers.architectures import embedder
from millpond_models.spec_helpers.published import models

ARCHITECTURES = (
    embedder(
        "GPT2Model",
        "millpond_models.decoders.gpt2.model:GPT2Model",
        "GPT-2 (Radford et al., 2019)",
        pooling="LAST",
        text=TextInput(positions="absolute"),
    ),
)
PUBLISHED = models(
    "GPT2Model", "nie3e/sentiment-polish-gpt2-small", checkpoint_architecture="GPT2ForSequenceClassification"
)
