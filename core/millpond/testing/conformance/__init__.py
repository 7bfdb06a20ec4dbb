"""Conformance classes: inherit one in your tests, name what you bring, and it is held against what it must do.

``class TestMine(PoolerConformance): name = "MINE"`` is a whole test.
"""

from millpond.testing.conformance.activation import ActivationConformance as ActivationConformance
from millpond.testing.conformance.architecture import ArchitectureConformance as ArchitectureConformance
from millpond.testing.conformance.converter import ConverterConformance as ConverterConformance
from millpond.testing.conformance.io_processor import IOProcessorConformance as IOProcessorConformance
from millpond.testing.conformance.kernel import KernelConformance as KernelConformance
from millpond.testing.conformance.pooler import PoolerConformance as PoolerConformance
from millpond.testing.conformance.record import RecordConformance as RecordConformance
from millpond.testing.conformance.task import TaskConformance as TaskConformance

__all__ = [
    "ActivationConformance",
    "ArchitectureConformance",
    "ConverterConformance",
    "IOProcessorConformance",
    "KernelConformance",
    "PoolerConformance",
    "RecordConformance",
    "TaskConformance",
]
