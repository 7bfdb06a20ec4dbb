"""Contexts without a model, for tests of poolers and other components that are built with a context."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from millpond.context import ModelContext
from millpond.model.spec import ClassificationSettings, ModelIdentity, ResolvedModel
from millpond.plugin.registry import Registry
from millpond.types.compute import ComputeOptions
from millpond.types.config import CheckpointConfig, PoolerConfig


def bare_context(
    registry: Registry,
    *,
    tasks: Sequence[str] = ("embed", "token_embed"),
    config: Mapping[str, Any] | None = None,
    pooler_config: Mapping[str, Any] | None = None,
    dtype: str = "float32",
    batch_invariant: bool = False,
) -> ModelContext:
    """Return the context of a CPU model without files.

    Args:
        registry: The records of plugins.
        tasks: The tasks of the model.
        config: The content of config.json.
        pooler_config: The fields of ``PoolerConfig``.
        dtype: The name of the dtype.
        batch_invariant: True if results must not depend on the batch, bit for bit.
    """
    files = CheckpointConfig(config or {})
    labels = files.get("num_labels")
    model = ResolvedModel(
        identity=ModelIdentity(model="none", path="none", source="none", architecture="none"),
        hf_config=files,
        max_model_len=512,
        dtype=dtype,
        pooler_config=PoolerConfig(**(pooler_config or {})),
        tasks=tuple(tasks),
        classification=ClassificationSettings(num_labels=labels if isinstance(labels, int) else 0),
    )
    return ModelContext(
        registry=registry,
        model=model,
        config=files,
        device=torch.device("cpu"),
        dtype=getattr(torch, dtype),
        compute=ComputeOptions(batch_invariant=batch_invariant),
    )
