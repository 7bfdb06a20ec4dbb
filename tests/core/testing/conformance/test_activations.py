"""ActivationConformance reports each fault: activations with one fault each."""

from tests.core.testing.conformance.fault_tests import FaultTests

PLUGINS = """

class MyActivation(Mine, ActivationConformance):
    name, record = "mine", ActivationSpec


class TestActivationRight(MyActivation):
    target = mine(lambda x: x / (1 + x.abs()))


class TestActivationTogether(MyActivation):
    target = mine(lambda x: x - x.mean())


class TestActivationGreedy(MyActivation):
    target = mine(lambda x: x.mul_(2))


class TestActivationWider(MyActivation):
    target = mine(lambda x: torch.cat([x, x], dim=-1))


class TestActivationOverflows(MyActivation):
    target = mine(lambda x: x.exp())


class TestActivationWhitewash(MyActivation):
    target = mine(lambda x: x.nan_to_num())


class TestActivationLastBit(MyActivation):
    target = mine(lambda x: torch.sigmoid(x))


class TestActivationOfNoOp(MyActivation):
    target, fields = mine(lambda x: x * 2), {"op": "double"}
"""

RIGHT = ("Activation",)
FAULTS = {
    "TestActivationTogether": {"test_rows_are_independent"},
    "TestActivationGreedy": {"test_input_is_not_changed"},
    "TestActivationWider": {"test_shape_is_kept"},
    "TestActivationOverflows": {"test_zeros_and_huge_values"},
    "TestActivationWhitewash": {"test_nan_is_kept_in_its_row"},
    "TestActivationLastBit": {"test_rows_are_independent"},
    "TestActivationOfNoOp": {"test_record_is_right"},
}


class TestActivationFaults(FaultTests):
    plugins, right, faults = PLUGINS, RIGHT, FAULTS
