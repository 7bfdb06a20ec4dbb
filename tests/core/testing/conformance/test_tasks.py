"""TaskConformance finds what it is there to find: records of tasks with a fault each."""

import pytest

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


@pytest.mark.parametrize("kind", RIGHT)
def test_correct_components_pass(outcomes, kind):
    assert outcomes.of(f"Test{kind}Right", "FAILED", "ERROR") == set()
    skipped = outcomes.of(f"Test{kind}Right", "SKIPPED")
    assert skipped == {"test_listing_it_imports_nothing_heavy"}  # it is registered by the running program


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found_where_it_is_looked_for(outcomes, name):
    assert FAULTS[name] <= outcomes.of(name, "FAILED", "ERROR")


def test_no_class_is_forgotten(outcomes):
    assert outcomes.classes(PLUGINS) == {f"Test{kind}Right" for kind in RIGHT} | set(FAULTS)
