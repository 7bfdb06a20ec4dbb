"""The records that plugins yield, one module per kind. Imports neither torch nor numpy."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from millpond.compat.renamed import renamed_contents
from millpond.plugin.specs.architecture import (
    ArchitectureSpec,
    CheckpointLayout,
    ModelExtras,
    OutputShape,
    PoolingDefaults,
    TextInput,
)
from millpond.plugin.specs.base import Spec
from millpond.plugin.specs.checkpoint_format import CheckpointFormatSpec
from millpond.plugin.specs.command import CommandSpec
from millpond.plugin.specs.converter import ConverterSpec
from millpond.plugin.specs.fallback import FallbackSpec
from millpond.plugin.specs.io_processor import IOProcessorSpec
from millpond.plugin.specs.kernel import KernelSpec
from millpond.plugin.specs.module import ModuleSpec
from millpond.plugin.specs.pooler import ActivationSpec, PoolerSpec
from millpond.plugin.specs.published import PublishedModelSpec
from millpond.plugin.specs.route import RouteSpec
from millpond.plugin.specs.source import SourceSpec
from millpond.plugin.specs.task import TaskSpec
from millpond.types.rerank_template import RerankTemplate

__all__ = [
    "RECORD_TYPES",
    "ActivationSpec",
    "ArchitectureSpec",
    "CheckpointFormatSpec",
    "CheckpointLayout",
    "CommandSpec",
    "ConverterSpec",
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
