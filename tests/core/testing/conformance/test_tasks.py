"""TaskConformance reports each fault: records of tasks with one fault each."""

import pytest
from tests.core.testing.conformance.fault_tests import FaultTests

pytestmark = pytest.mark.slow

PLUGINS = """

class MyTask(Mine, TaskConformance):
    name, record, target = "mine", TaskSpec, EmbeddingOutput
    fields = {"io_processor": "embed"}

    def plugins(self):
        manager = super().plugins()
        manager.register(IOProcessorSpec(name="mine", target=Vectors, tasks=("mine",)))
        return manager


class TestTaskRight(MyTask):
    fields = {"io_processor": "mine"}


class TestTaskUnserved(MyTask):
    pass


class TestTaskOfNoPooling(MyTask):
    fields = {"io_processor": "mine", "default_pooling": "MEDIAN"}


class TestTaskOfTokens(MyTask):
    fields = {"io_processor": "mine", "default_pooling": "CLS", "per_token": True}


class TestTaskOfNoActivation(MyTask):
    fields = {"io_processor": "mine", "default_activation": "square"}


class TestTaskOfOthers(MyTask):
    fields = {"io_processor": "mine", "derived_from": ("score",)}
"""

RIGHT = ("Task",)
FAULTS = {
    "TestTaskUnserved": {"test_record_is_right"},
    "TestTaskOfNoPooling": {"test_record_is_right"},
    "TestTaskOfTokens": {"test_record_is_right"},
    "TestTaskOfNoActivation": {"test_record_is_right"},
    "TestTaskOfOthers": {"test_record_is_right"},
}


class TestTaskFaults(FaultTests):
    plugins, right, faults = PLUGINS, RIGHT, FAULTS
