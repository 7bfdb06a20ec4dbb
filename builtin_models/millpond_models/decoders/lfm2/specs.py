"""Specs of LFM2, as a decoder and as an encoder."""

from typing import Final

from millpond.plugin.specs import CheckpointLayout
from millpond_models.spec_helpers.architectures import embedder

LFM2: Final = CheckpointLayout(config_defaults={"rope_theta": 1_000_000.0})
ARCHITECTURES = (
    embedder(
        "Lfm2Model",
        "millpond_models.decoders.lfm2.model:Lfm2Model",
        "LFM2 (Liquid AI, 2025): gated short convolutions and some attention layers",
        pooling="LAST",
        checkpoint=LFM2,
    ),
    embedder(
        "Lfm2BidirectionalModel",
        "millpond_models.decoders.lfm2.model:Lfm2BidirectionalModel",
        "LFM2 as an encoder: bidirectional attention and centred convolutions",
        pooling="CLS",
        checkpoint=LFM2,
    ),
)
