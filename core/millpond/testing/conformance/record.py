"""RecordConformance: tests of a record's fields, of its target, and of the imports of its module."""

import sys
from typing import Any, ClassVar

import pytest

from millpond.plugin.manager import PluginManager, get_plugin_manager
from millpond.plugin.registry import Entry, Registry
from millpond.testing.demands import demand
from millpond.testing.records import field_faults
from millpond.testing.records.modules import imported_by


class RecordConformance:
    """Tests of a record of any kind.

    It is the base of the classes for single kinds, and a complete test of sources, commands and routes.

    Attributes:
        kind: The kind of the record, such as ``"source"``.
        name: The name of the record, or its qualified name ``"plugin/NAME"``.
        time_limit: The maximum duration of a test or fixture in seconds; a test that hangs fails with its stack.
        expected_target: The requirement for the target, for the error message.
    """

    kind: ClassVar[str]
    name: ClassVar[str]
    time_limit: ClassVar[float] = 300.0
    expected_target: ClassVar[str] = "it must be callable"

    def plugins(self) -> PluginManager:
        """Return the plugins that provide the record; by default all installed plugins."""
        return get_plugin_manager()

    def registry(self) -> Registry:
        """Return the records of these plugins."""
        return self.plugins().registry

    @pytest.fixture
    def entry(self) -> Entry[Any]:
        """The record with its plugin."""
        return self.registry().catalog(self.kind).get(self.name)

    def test_record_is_right(self, entry: Entry[Any]) -> None:
        """The summary is one line, and all fields are valid."""
        demand(bool(entry.spec.summary.strip()), f"{entry.qualified} has no summary for listings")
        demand("\n" not in entry.spec.summary, f"the summary of {entry.qualified} is longer than one line")
        for fault in self.faults(entry):
            pytest.fail(f"{entry.qualified}: {fault}")

    def test_target_imports(self, entry: Entry[Any]) -> None:
        """The target can be imported and has the type that the kind requires."""
        target = entry.load()
        demand(self.fits(target), f"{entry.qualified}: {entry.spec.target!r} is {target!r}: {self.expected_target}")

    def test_listing_it_imports_nothing_heavy(self, entry: Entry[Any]) -> None:
        """The plugin's module does not import torch or similar packages, which would slow down ``millpond --help``."""
        if not entry.origin.module:
            pytest.skip(f"{entry.qualified} was registered by the running program and has no module")
        heavy = imported_by(entry.origin.module, tuple(sys.path))
        demand(not heavy, f"the module {entry.origin.module} imports {', '.join(heavy)}, before any target is used")

    def fits(self, target: object) -> bool:
        """Return True if the target has the type that the kind requires."""
        return callable(target)

    def faults(self, entry: Entry[Any]) -> list[str]:
        """Return the faults of the record's fields, as in ``millpond plugins doctor``."""
        return [str(fault) for fault in field_faults(self.registry(), entry) if not fault.is_note]
