"""Spec of Phi-3."""

from millpond_models.spec_helpers.architectures import embedder

ARCHITECTURES = (
    embedder(
        "Phi3Model",
        "millpond_models.decoders.phi3.model:Phi3Model",
        "Phi-3, Phi-3.5 and Phi-4-mini (Abdin et al., 2024)",
        pooling="LAST",
    ),
)
