"""Tiny checkpoints of architectures with their own writer functions."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from millpond_models.testing.bge_m3 import tiny_bge_m3
from millpond_models.testing.gritlm import tiny_gritlm
from millpond_models.testing.nemotron_vl import tiny_nemotron_vl
from millpond_models.testing.phi3_vision import tiny_phi3_vision

WRITERS: Mapping[str, Callable[..., Path]] = MappingProxyType(
    {
        "BgeM3EmbeddingModel": tiny_bge_m3,
        "GritLM": tiny_gritlm,
        "LlamaNemotronVLModel": tiny_nemotron_vl,
        "Phi3VForCausalLM": tiny_phi3_vision,
    }
)


def tiny_by_name(architecture: str, folder: Path | str, **options: Any) -> Path:
    """Write the checkpoint of an architecture; see its function in ``WRITERS`` for the options."""
    return WRITERS[architecture](Path(folder), **options)
