"""The records that plugins yield, one module per kind. Imports neither torch nor numpy."""

from collections.abc import Mapping
from types import MappingProxyType

from millpond.plugin.specs.architecture import ArchitectureSpec, PublishedModel
from millpond.plugin.specs.base import Spec
from millpond.plugin.specs.command import CommandSpec
from millpond.plugin.specs.converter import ConverterSpec
from millpond.plugin.specs.io_processor import IOProcessorSpec
from millpond.plugin.specs.kernel import KernelSpec
from millpond.plugin.specs.pooler import ActivationSpec, PoolerSpec
from millpond.plugin.specs.route import RouteSpec
from millpond.plugin.specs.source import SourceSpec
from millpond.plugin.specs.task import TaskSpec

__all__ = [
    "KINDS",
    "ActivationSpec",
    "ArchitectureSpec",
    "CommandSpec",
    "ConverterSpec",
    "IOProcessorSpec",
    "KernelSpec",
    "PoolerSpec",
    "PublishedModel",
    "RouteSpec",
    "SourceSpec",
    "Spec",
    "TaskSpec",
]

KINDS: Mapping[str, type[Spec]] = MappingProxyType(
    {
        spec.kind: spec
        for spec in (
            TaskSpec,
            ArchitectureSpec,
            ConverterSpec,
            PoolerSpec,
            ActivationSpec,
            IOProcessorSpec,
            KernelSpec,
            SourceSpec,
            CommandSpec,
            RouteSpec,
        )
    }
)
