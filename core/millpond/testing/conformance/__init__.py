"""Conformance classes: subclass one and name a record of your plugin to test it against its contract.

``class TestMine(PoolerConformance): name = "MINE"`` is a complete test.
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
