"""KernelConformance reports each fault: a kernel with one fault fails in the test for that fault."""

import re
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.slow

KERNELS = '''
"""Kernels with a fault each, and some without."""

import time

import torch
from torch.nn.functional import gelu, layer_norm, linear

from millpond.plugin.manager import PluginManager
from millpond.plugin.specs import KernelSpec
from millpond.testing.conformance import KernelConformance
from millpond.testing.kernel_cases import KernelCases

SHARED = {}


def right(x, bias):
    return gelu(x + bias)


def roughly(x, bias):
    return gelu(x + bias, approximate="tanh")


def blind_to_bfloat16(x, bias):
    return gelu(x + bias) if x.dtype == torch.float32 else gelu(x)


def in_float64(x, bias):
    return gelu(x.double() + bias)


def greedy(x, bias):
    return gelu(bias.add_(0.5) - 0.5 + x)


def in_a_row(x, bias):
    """Reads memory as if there were no gaps."""
    return gelu(torch.as_strided(x, x.shape, (x.shape[1], 1)) + bias)


def beside(x, bias):
    """Writes a column too many where there is one."""
    if x.stride(0) > x.shape[1] and x.stride(1) == 1:
        torch.as_strided(x, (x.shape[0], 1), x.stride(), x.storage_offset() + x.shape[1]).zero_()
    return gelu(x + bias)


def whitewash(x, bias):
    return gelu(x + bias).nan_to_num(posinf=1e30)


def overflows(x, bias):
    return gelu(x + bias) / (1 + 0 * (x * 1e30))


def coarse(x, bias):
    """Of huge values, a thousandth too much."""
    return gelu(torch.where(x.abs() < 1000, x, x * 1.001) + bias)


def of_one_thread(x, bias):
    SHARED["x"] = x + bias
    time.sleep(0.005)
    return gelu(SHARED["x"])


def together(x, bias, residual, weight, shift, eps):
    """Normalises by what all rows have in common."""
    x = layer_norm(x + bias + residual, weight.shape, weight, shift, eps)
    return x + 1e-3 * (residual.mean() - residual[0, 0])


def nearly_alone(x, bias):
    """Off by the last bit where there are few rows."""
    return gelu(x + bias) * (1 + 1e-7 * (len(x) < 12))


def says_nothing():
    return None


def says_no():
    return "needs a second moon"


class Doubling(KernelCases):
    widths = (3, 4)


class MapWithWeight:
    """A kernel that is built of the weights."""

    def __init__(self, weight, bias):
        self.weight, self.bias = weight, bias

    def __call__(self, x):
        return linear(x, self.weight, self.bias)


class MapWithoutBias(MapWithWeight):
    def __call__(self, x):
        return linear(x, self.weight)


def record(name, target, **fields):
    return KernelSpec(name=name, target=target, **{"summary": "for tests", **fields})


class Mine(KernelConformance):
    spec = None

    @property
    def name(self):
        return self.spec.name

    def registry(self):
        manager = PluginManager(ranks=("builtin",), disabled=())
        for spec in (self.spec, record("double.torch", lambda x: 2 * x), record("map.plain", MapWithWeight)):
            manager.register(spec)
        return manager.registry


def kernel(target, **fields):
    return type("Kernel", (Mine,), {"spec": record(f"gelu.{target.__name__}", target, **fields)})


class TestRight(kernel(right)): ...


class TestRoughly(kernel(roughly)): ...


class TestBlindToBfloat16(kernel(blind_to_bfloat16)): ...


class TestInFloat64(kernel(in_float64)): ...


class TestGreedy(kernel(greedy)): ...


class TestInARow(kernel(in_a_row)): ...


class TestBeside(kernel(beside)): ...


class TestWhitewash(kernel(whitewash)): ...


class TestOverflows(kernel(overflows)): ...


class TestCoarse(kernel(coarse)): ...


class TestOfOneThread(kernel(of_one_thread)): ...


class TestTogether(Mine):
    spec = record("layer_norm_residual.together", together)
    tolerances = {"float32": 1e-2, "bfloat16": 1e-1}


class TestNearlyAlone(kernel(nearly_alone)): ...


class TestBrokenPromise(kernel(nearly_alone, batch_invariant=True)): ...


class TestNoSummary(kernel(right, summary="")): ...


class TestOneDevice(kernel(right, devices=("cpu:0",))):
    device = "cpu"


class TestNoDtype(kernel(right, dtypes=("float31",))):
    dtypes = ("float32",)


class TestNowhere(Mine):
    spec = record("gelu.nowhere", "nowhere:gelu")


class TestSaysNothing(kernel(right, available=f"{__name__}:says_nothing")):
    device = "cpu"


class TestSaysNo(kernel(right, available=f"{__name__}:says_no")): ...


class TestElsewhere(kernel(right, devices=("xpu",))): ...


class TestUnknownOp(Mine):
    spec = record("double.mine", lambda x: x + x)


class TestKnownOp(Mine):
    spec = record("double.mine", lambda x: x + x)
    cases = Doubling()


class TestOwnCases(Mine):
    spec = record("double.mine", lambda x: x + x, cases=f"{__name__}:Doubling")


class TestMap(Mine):
    spec = record("linear.mine", MapWithWeight)
    reference = "map.plain"


class TestMapWithoutBias(Mine):
    spec = record("linear.mine", MapWithoutBias)
    reference = "map.plain"


class TestNoReference(Mine):
    spec = record("gelu.right", right)
    reference = "gelu.best"


class TestBoundReference(Mine):
    spec = record("gelu.right", right, devices=("cpu",))
    reference = "gelu.right"
'''

VALUES = {"test_every_setting", "test_every_width", "test_random_batches", "test_one_token", "test_long_sequences"}
SPECIAL = {
    "test_sequences_are_independent",
    "test_tensors_may_have_gaps",
    "test_arguments_are_not_changed",
    "test_tiny_and_huge_values",
    "test_results_of_finite_values_are_finite",
    "test_nonfinite_values_are_kept_in_their_sequence[nan]",
    "test_nonfinite_values_are_kept_in_their_sequence[inf]",
    "test_several_threads_may_call_it",
}
RECORD = {
    "test_record_is_right",
    "test_target_imports",
    "test_available_answers",
    "test_reference_runs_everywhere",
}
RESULTS = VALUES | SPECIAL
NO_MODULE = {"test_listing_it_imports_nothing_heavy"}  # skipped: the records are registered by the test


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """The outcomes of the tests of each class, and the output, from a separate pytest process."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "test_faults.py").write_text(textwrap.dedent(KERNELS), encoding="utf-8")
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-rs", "--tb=line", "-p", "no:cacheprovider", "test_faults.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    outcomes = re.findall(r"^test_faults\.py::(\w+)::(\S+) (PASSED|FAILED|ERROR|SKIPPED)", process.stdout, re.MULTILINE)
    assert outcomes, process.stdout + process.stderr
    by_class = {}
    for name, test, outcome in outcomes:
        by_class.setdefault(name, {})[test] = outcome
    assert all(set(tests) == RECORD | RESULTS | NO_MODULE for tests in by_class.values())
    return by_class, process.stdout


def of(outcomes, name, *wanted):
    return {test for test, outcome in outcomes[0][name].items() if outcome in wanted}


@pytest.mark.parametrize("name", ["TestRight", "TestNearlyAlone", "TestKnownOp", "TestOwnCases", "TestMap"])
def test_correct_components_pass(outcomes, name):
    assert of(outcomes, name, "PASSED") == RECORD | RESULTS


@pytest.mark.parametrize(
    ("name", "failing"),
    [
        ("TestRoughly", VALUES),
        ("TestBlindToBfloat16", {"test_every_setting", "test_every_width", "test_random_batches"}),
        ("TestInFloat64", VALUES),
        ("TestGreedy", {"test_arguments_are_not_changed"}),
        ("TestInARow", {"test_tensors_may_have_gaps"}),
        ("TestBeside", {"test_tensors_may_have_gaps"}),
        ("TestWhitewash", {test for test in SPECIAL if "nonfinite" in test}),
        ("TestOverflows", {"test_results_of_finite_values_are_finite"}),
        ("TestCoarse", {"test_tiny_and_huge_values"}),
        ("TestOfOneThread", {"test_several_threads_may_call_it"}),
        ("TestTogether", {"test_sequences_are_independent"}),
        ("TestBrokenPromise", {"test_sequences_are_independent"}),
        ("TestNoSummary", {"test_record_is_right"}),
        ("TestOneDevice", {"test_record_is_right"}),
        ("TestNoDtype", {"test_record_is_right"}),
        ("TestNowhere", {"test_target_imports"}),
        ("TestSaysNothing", {"test_available_answers"}),
        ("TestMapWithoutBias", VALUES),
        ("TestNoReference", {"test_reference_runs_everywhere"}),
        ("TestBoundReference", {"test_reference_runs_everywhere"}),
    ],
)
def test_each_fault_fails_the_tests_for_it(outcomes, name, failing):
    failed = of(outcomes, name, "FAILED", "ERROR")
    assert failing <= failed
    assert "test_target_imports" not in failed - failing


@pytest.mark.parametrize(
    "name", ["TestGreedy", "TestInARow", "TestBeside", "TestCoarse", "TestOfOneThread", "TestBrokenPromise"]
)
def test_each_fault_fails_exactly_one_test(outcomes, name):
    assert len(of(outcomes, name, "FAILED", "ERROR")) == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("TestSaysNo", "gelu.right needs a second moon"),
        ("TestElsewhere", "gelu.right runs on xpu, which this machine does not have"),
    ],
)
def test_a_test_that_cannot_run_here_is_skipped_with_the_reason(outcomes, name, reason):
    assert of(outcomes, name, "PASSED") == RECORD
    assert of(outcomes, name, "SKIPPED") == RESULTS | NO_MODULE
    assert reason in outcomes[1]


def test_an_unknown_op_is_an_error_that_states_the_fix(outcomes):
    assert of(outcomes, "TestUnknownOp", "ERROR", "FAILED") == RESULTS | {"test_reference_runs_everywhere"}
    assert re.search(r"no record of the op 'double' declares its test arguments.*cases = MyCases\(\)", outcomes[1])


def test_error_messages_name_the_fault(outcomes):
    output = outcomes[1]
    assert re.search(
        r"gelu.roughly: the error is \S+, which exceeds 1e-05, for lengths \(1, 7, .*, width 33, float32", output
    )
    assert re.search(r"gelu.in_float64 returns .*'float64'.*, the reference .*'float32'", output)
    assert "gelu.greedy writes into bias" in output
    assert "gelu.beside writes outside of its argument x" in output
    assert "gelu.whitewash returns finite numbers for nan in x" in output
    names = "gelu.erf, gelu.native, gelu.right, gelu.torch"
    assert f"gelu.right: unknown reference gelu.best. Available: {names}" in output
