"""The records that plugins yield. Imports neither torch nor numpy."""

from collections.abc import Mapping
from types import MappingProxyType

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
