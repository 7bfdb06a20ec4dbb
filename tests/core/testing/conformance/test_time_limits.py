"""A test that hangs fails with its stack, and the run continues."""

import re

import pytest

pytestmark = pytest.mark.slow

PLUGINS = """

def sleep_for_ever(*_, **__):
    threading.Event().wait()


class TestPoolerHangs(Mine, PoolerConformance):
    name, record, fields, time_limit = "MINE", PoolerSpec, {"tasks": ("embed",)}, 2

    class target(Pooler):
        def pool(self, hidden_states, metadata):
            if len(metadata.lengths) > 1:
                sleep_for_ever()
            return hidden_states.split(list(metadata.lengths))[0].amin(dim=0, keepdim=True)


class TestPoolerHangsAmongThreads(Mine, PoolerConformance):
    name, record, fields, time_limit = "MINE", PoolerSpec, {"tasks": ("embed",)}, 2

    class target(Pooler):
        def pool(self, hidden_states, metadata):
            if threading.current_thread() is not threading.main_thread():
                sleep_for_ever()
            return torch.stack([rows.amin(dim=0) for rows in hidden_states.split(list(metadata.lengths))])


class HangingProcessor(Mine, IOProcessorConformance):
    name, record, fields, time_limit = "mine", IOProcessorSpec, {"tasks": ("plugin",)}, 8
    items = ([5, 6, 7], [8])


class TestProcessorHangs(HangingProcessor):
    class target(Vectors):
        def decode(self, work):
            try:
                sleep_for_ever()
            except Exception:  # a time limit is none
                return None


class TestProcessorHangsWhenBuilt(HangingProcessor):
    class target(Vectors):
        __init__ = sleep_for_ever


class HangingModel(Mine, ArchitectureConformance):
    name, record, time_limit = "BertModel", ArchitectureSpec, 8
    fields = {"tasks": ("embed",), "text": TextInput(positions="absolute")}

    def load(self, folder, **arguments):
        before = torch.get_num_threads()
        torch.set_num_threads(self.torch_threads)
        try:
            return super().load(folder, **arguments)
        finally:
            torch.set_num_threads(before)

    class target(BertModel):
        def forward(self, batch):
            return sleep_for_ever()


class TestModelHangsInTheCallingThread(HangingModel):
    torch_threads = 1


class TestModelHangsInAWorker(HangingModel):
    torch_threads = 2


class TestKernelHangs(KernelConformance):
    name, time_limit = "gelu.mine", 2

    def registry(self):
        manager = PluginManager()
        manager.register(KernelSpec(name="gelu.mine", target=sleep_for_ever, summary="mine"))
        return manager.registry
"""

RIGHT = ()
FAULTS = {
    "TestPoolerHangs": {"test_order_is_kept"},
    "TestPoolerHangsAmongThreads": {"test_several_threads_may_call_it"},
    "TestProcessorHangs": {"test_sequences_can_be_decoded_twice"},
    "TestProcessorHangsWhenBuilt": {"test_parameters_are_completed"},
    "TestModelHangsInTheCallingThread": {"test_each_prompt_has_one_output_in_order"},
    "TestModelHangsInAWorker": {"test_each_prompt_has_one_output_in_order"},
    "TestKernelHangs": {"test_every_width"},
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_component_that_hangs_fails_its_test(outcomes, name):
    assert FAULTS[name] <= outcomes.of(name, "FAILED", "ERROR")


def test_no_class_is_forgotten(outcomes):
    assert outcomes.classes(PLUGINS) == {*FAULTS, "TestPoolerHangs"}


STACK_OF_MODEL = r"""
.* in _call_impl: .*
.* in forward: return sleep_for_ever\(\)
.* in sleep_for_ever: threading\.Event\(\)\.wait\(\)
"""


@pytest.mark.parametrize(
    "pattern",
    [
        r"test_order_is_kept hangs: it did not end within 2 seconds",
        r"the fixture trials hangs: it did not end within 8 seconds",
        r"within 8 seconds .* The stacks:\nthe test:" + STACK_OF_MODEL,
        r"the thread millpond-worker-0:" + STACK_OF_MODEL,
        r"the thread conformance-0:\n(.*\n)*?.* in sleep_for_ever",
    ],
    ids=["test", "fixture", "calling thread", "worker", "several threads"],
)
def test_the_message_names_the_limit_and_the_place(outcomes, pattern):
    assert re.search(pattern, outcomes.output)
