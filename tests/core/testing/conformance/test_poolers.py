"""PoolerConformance reports each fault: poolers with one fault each."""

import re

import pytest
from tests.core.testing.conformance.fault_tests import FaultTests

pytestmark = pytest.mark.slow

PLUGINS = """

class Min(Pooler):
    def pool(self, hidden_states, metadata):
        return torch.stack([rows.amin(dim=0) for rows in hidden_states.split(list(metadata.lengths))])


class MyPooler(Mine, PoolerConformance):
    name, record, fields = "MINE", PoolerSpec, {"tasks": ("embed",)}


class TestPoolerRight(MyPooler):
    target = Min


class TestPoolerTogether(MyPooler):
    class target(Min):
        def pool(self, hidden_states, metadata):
            return super().pool(hidden_states, metadata) + 1e-3 * hidden_states.mean()


class TestPoolerBackwards(MyPooler):
    class target(Min):
        def pool(self, hidden_states, metadata):
            return super().pool(hidden_states, metadata).flip(0)


class TestPoolerTooFew(MyPooler):
    class target(Min):
        def pool(self, hidden_states, metadata):
            return super().pool(hidden_states, metadata)[:1]


class TestPoolerRows(MyPooler):
    class target(Min):
        def pool(self, hidden_states, metadata):
            return list(hidden_states.split(list(metadata.lengths)))


class TestPoolerGreedy(MyPooler):
    class target(Min):
        def pool(self, hidden_states, metadata):
            found = super().pool(hidden_states, metadata)
            hidden_states.zero_()
            return found


class TestPoolerHoarder(MyPooler):
    class target(Min):
        def pool(self, hidden_states, metadata):
            self.last = hidden_states
            return super().pool(hidden_states, metadata)


class TestPoolerWhitewash(MyPooler):
    class target(Min):
        def pool(self, hidden_states, metadata):
            return super().pool(hidden_states, metadata).nan_to_num()


class TestPoolerOneForAll(MyPooler):
    class target(Min):
        def forward(self, hidden_states, metadata):
            return self._finish(self.pool(hidden_states, metadata).float(), metadata.params[0])


class TestPoolerOfOneThread(MyPooler):
    class target(Min):
        def pool(self, hidden_states, metadata):
            self.lengths = list(metadata.lengths)
            time.sleep(0.02)
            return torch.stack([rows.amin(dim=0) for rows in hidden_states.split(self.lengths)])


class TestPoolerBlindToBfloat16(MyPooler):
    class target(Min):
        def pool(self, hidden_states, metadata):
            return super().pool(hidden_states, metadata) * (hidden_states.dtype == torch.float32)


class TestPoolerOfWholePrompts(MyPooler):
    class target(Min):
        def pool(self, hidden_states, metadata):
            if metadata.starts:
                return torch.stack([hidden_states.amin(dim=0)] * len(metadata.lengths))
            return super().pool(hidden_states, metadata)


class TestPoolerWide(MyPooler):
    class target(Min):
        def pool(self, hidden_states, metadata):
            return super().pool(hidden_states, metadata).repeat(1, 2)


class TestPoolerOfStatedWidth(MyPooler):
    target, fields = Min, {"tasks": ("embed",), "size_key": "vocab_size"}
    config = {"vocab_size": 30}


class TestPoolerIsNone(MyPooler):
    target = len


class TestPoolerOfNoTask(MyPooler):
    target, fields = Min, {"tasks": ("rank",)}


class TestPoolerSilent(MyPooler):
    target, fields = Min, {"tasks": ("embed",), "summary": ""}


class TestPoolerHeavy(PoolerConformance):
    name = "MINE"

    def plugins(self):
        manager = PluginManager()
        manager.register_plugin(sys.modules[__name__], "heavy")
        return manager


@hookimpl
def register_poolers():
    yield PoolerSpec(name="MINE", target=Min, summary="in a module that imports torch", tasks=("embed",))
"""

RIGHT = ("Pooler",)
FAULTS = {
    "TestPoolerTogether": {"test_sequences_are_independent[False]", "test_sequences_are_independent[True]"},
    "TestPoolerBackwards": {"test_sequences_are_independent[False]", "test_sequences_have_their_own_parameters"},
    "TestPoolerTooFew": {"test_each_sequence_has_one_result", "test_order_is_kept"},
    "TestPoolerRows": {"test_each_sequence_has_one_result"},
    "TestPoolerGreedy": {"test_hidden_states_are_not_changed"},
    "TestPoolerHoarder": {"test_no_batch_is_kept"},
    "TestPoolerWhitewash": {"test_nan_is_kept_in_its_sequence"},
    "TestPoolerOneForAll": {"test_sequences_have_their_own_parameters"},
    "TestPoolerOfOneThread": {"test_several_threads_may_call_it"},
    "TestPoolerBlindToBfloat16": {"test_other_dtypes_are_close"},
    "TestPoolerOfWholePrompts": {"test_only_the_span_is_pooled"},
    "TestPoolerWide": {"test_rows_have_the_declared_size"},
    "TestPoolerOfStatedWidth": {"test_rows_have_the_declared_size"},
    "TestPoolerIsNone": {"test_target_imports"},
    "TestPoolerOfNoTask": {"test_record_is_right"},
    "TestPoolerSilent": {"test_record_is_right"},
    "TestPoolerHeavy": {"test_listing_it_imports_nothing_heavy"},
}


class TestPoolerFaults(FaultTests):
    plugins, right, faults = PLUGINS, RIGHT, FAULTS


def test_error_messages_name_the_fault(outcomes):
    for pattern in (
        r"MINE, sequence 0 of \[1, 7, .*\] among others compared with alone: the error is \S+, which exceeds 1e-05",
        r"the module test_faults imports numpy, safetensors, torch",
    ):
        assert re.search(pattern, outcomes.output), pattern
