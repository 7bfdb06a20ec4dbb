"""FaultTests: correct plugins pass their conformance class; those with a fault fail where the fault is tested."""

from collections.abc import Mapping, Sequence
from typing import ClassVar


class FaultTests:
    """Tests of conformance classes with the plugins of a test file.

    Attributes:
        plugins: The source code of the plugins and of their conformance tests, which run in another process.
        right: The kinds of component; ``Test<kind>Right`` tests a correct one.
        faults: The class of each faulty plugin -> the tests in which it must fail.
        skipped: The tests that correct plugins skip.
    """

    plugins: ClassVar[str]
    right: ClassVar[Sequence[str]]
    faults: ClassVar[Mapping[str, set[str]]]
    skipped: ClassVar[frozenset[str]] = frozenset({"test_listing_it_imports_nothing_heavy"})  # no module to import

    def pytest_generate_tests(self, metafunc):
        if "kind" in metafunc.fixturenames:
            metafunc.parametrize("kind", self.right)
        if "fault" in metafunc.fixturenames:
            metafunc.parametrize("fault", self.faults)

    def test_correct_components_pass(self, outcomes, kind):
        assert outcomes.of(f"Test{kind}Right", "FAILED", "ERROR") == set()
        assert outcomes.of(f"Test{kind}Right", "SKIPPED") == self.skipped

    def test_each_fault_is_found_by_its_tests(self, outcomes, fault):
        assert self.faults[fault] <= outcomes.of(fault, "FAILED", "ERROR")

    def test_all_classes_are_listed(self, outcomes):
        assert outcomes.classes(self.plugins) == {f"Test{kind}Right" for kind in self.right} | set(self.faults)
