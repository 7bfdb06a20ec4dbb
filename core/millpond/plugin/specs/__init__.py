"""The records that plugins yield. Imports neither torch nor numpy."""

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
    ExecutorSpec,
    IOProcessorSpec,
    KernelSpec,
    PoolerSpec,
    TaskSpec,
)
from millpond.types.rerank_template import RerankTemplate

__all__ = [
    "ActivationSpec",
    "ArchitectureSpec",
    "CheckpointFormatSpec",
    "CheckpointLayout",
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
    "SourceSpec",
    "Spec",
    "TaskSpec",
    "TextInput",
]
