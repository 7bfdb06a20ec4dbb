"""The records that plugins yield. Imports neither torch nor numpy."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from millpond.compat.renamed import renamed_contents
from millpond.plugin.specs.architecture import (
    ArchitectureSpec,
    CheckpointLayout,
    ConverterSpec,
    FallbackSpec,
    ModelExtras,
    OutputShape,
    PoolingDefaults,
    TextInput,
)
from millpond.plugin.specs.base import Spec
from millpond.plugin.specs.checkpoints import CheckpointFormatSpec, ModuleSpec, PublishedModelSpec, SourceSpec
from millpond.plugin.specs.components import (
    ActivationSpec,
    CacheSpec,
    IOProcessorSpec,
    KernelSpec,
    PoolerSpec,
    TaskSpec,
)
from millpond.plugin.specs.programs import CommandSpec, ExecutorSpec, RouteSpec, ServiceSpec
from millpond.types.rerank_template import RerankTemplate

__all__ = [
    "RECORD_TYPES",
    "ActivationSpec",
    "ArchitectureSpec",
    "CacheSpec",
    "CheckpointFormatSpec",
    "CheckpointLayout",
    "CommandSpec",
    "ConverterSpec",
    "ExecutorSpec",
    "FallbackSpec",
    "IOProcessorSpec",
    "KernelSpec",
    "ModelExtras",
    "ModuleSpec",
    "OutputShape",
    "PoolerSpec",
    "PoolingDefaults",
    "PublishedModelSpec",
    "RerankTemplate",
    "RouteSpec",
    "ServiceSpec",
    "SourceSpec",
    "Spec",
    "TaskSpec",
    "TextInput",
]

RECORD_TYPES: Mapping[str, type[Spec]] = MappingProxyType(
    {
        spec.kind: spec
        for spec in (
            TaskSpec,
            ArchitectureSpec,
            PublishedModelSpec,
            FallbackSpec,
            ConverterSpec,
            PoolerSpec,
            ActivationSpec,
            IOProcessorSpec,
            KernelSpec,
            SourceSpec,
            CommandSpec,
            RouteSpec,
            CheckpointFormatSpec,
            ModuleSpec,
            CacheSpec,
            ExecutorSpec,
            ServiceSpec,
        )
    }
)


def __getattr__(name: str) -> Any:
    """Return a former name, with a DeprecationWarning."""
    if name != "PublishedModel":
        return renamed_contents(__name__, {"KINDS": "RECORD_TYPES"})(name)
    import warnings  # noqa: PLC0415  only the former name needs it

    from millpond.compat.flat_architecture import PublishedModel  # noqa: PLC0415  as above

    message = "PublishedModel was replaced: yield PublishedModelSpec from the hook register_published_models"
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    return PublishedModel
