"""RecordConformance: a record is right, what it names can be imported, and listing it costs nothing."""

import sys
from typing import Any, ClassVar

import pytest

from millpond.plugin.manager import PluginManager, get_plugin_manager
from millpond.plugin.registry import Entry, Registry
from millpond.testing.demands import demand
from millpond.testing.records import field_faults
from millpond.testing.records.modules import imported_by


class RecordConformance:
    """Tests of any record.

    The classes for single kinds inherit it; for a source, a command or a route it is a whole test as it is.

    Attributes:
        kind: The kind of the record, such as ``"source"``.
        name: Its name, or with its plugin, ``"plugin/NAME"``.
        time_limit: The seconds that a test, or one of its fixtures, may take; what hangs fails with the place.
    """

    kind: ClassVar[str]
    name: ClassVar[str]
    time_limit: ClassVar[float] = 300.0

    def plugins(self) -> PluginManager:
        """Where the record is looked up: by default among all installed plugins."""
        return get_plugin_manager()

    def registry(self) -> Registry:
        """What these plugins bring."""
        return self.plugins().registry

    @pytest.fixture
    def entry(self) -> Entry[Any]:
        """The record and its origin."""
        return self.registry().catalog(self.kind).get(self.name)

    def test_record_is_right(self, entry: Entry[Any]) -> None:
        """It says in a line what it is, and names what there is."""
        demand(bool(entry.spec.summary.strip()), f"{entry.qualified} has no summary for listings")
        demand("\n" not in entry.spec.summary, f"the summary of {entry.qualified} is longer than one line")
        for fault in self.faults(entry):
            pytest.fail(f"{entry.qualified}: {fault}")

    def test_target_imports(self, entry: Entry[Any]) -> None:
        """The target can be imported wherever the plugin is installed, and is what the kind asks for."""
        target = entry.load()
        demand(self.fits(target), f"{entry.qualified}: {entry.spec.target!r} is {target!r}: {self.wanted}")

    def test_listing_it_imports_nothing_heavy(self, entry: Entry[Any]) -> None:
        """The plugin's module imports no torch and the like: ``millpond --help`` must not wait for them."""
        if not entry.origin.module:
            pytest.skip(f"{entry.qualified} was registered by the running program: it has no module of its own")
        heavy = imported_by(entry.origin.module, tuple(sys.path))
        demand(not heavy, f"the module {entry.origin.module} imports {', '.join(heavy)}, before any target is used")

    wanted: ClassVar[str] = "it must be something that can be called"

    def fits(self, target: object) -> bool:
        """Whether what the record names is what its kind asks for."""
        return callable(target)

    def faults(self, entry: Entry[Any]) -> list[str]:
        """What is wrong with the fields of the record; ``millpond plugins doctor`` finds the same."""
        return [str(fault) for fault in field_faults(self.registry(), entry) if not fault.is_note]
