"""Modules that moved are found by their old names for one release."""

import importlib
import sys

import pytest

from millpond.compat.moved import MOVED
from millpond.plugin.target import imported


@pytest.mark.parametrize("old", MOVED)
def test_a_module_is_found_by_its_old_name_with_a_warning(old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    new = importlib.import_module(MOVED[old])
    spec = new.__spec__
    monkeypatch.delitem(sys.modules, old, raising=False)
    with pytest.warns(DeprecationWarning, match=f"{old} was renamed: import {MOVED[old]}") as caught:
        module = importlib.import_module(old)
    assert module is new
    assert new.__spec__ is spec
    assert len(caught) == 1
    monkeypatch.delitem(sys.modules, old)


def test_the_warning_names_the_line_that_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "millpond.specs", raising=False)
    with pytest.warns(DeprecationWarning, match="millpond.specs was renamed") as caught:
        from millpond.specs import PoolerSpec
    assert caught[0].filename == __file__
    assert PoolerSpec.kind == "pooler"


def test_no_name_of_the_table_is_still_a_module_of_its_own() -> None:
    for old in MOVED:
        path = importlib.import_module("millpond").__path__[0]
        assert importlib.machinery.PathFinder.find_spec(old, [path]) is None


def test_a_module_that_moved_is_an_attribute_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    import millpond

    monkeypatch.delitem(sys.modules, "millpond.errors", raising=False)
    monkeypatch.delitem(vars(millpond), "errors", raising=False)
    with pytest.warns(DeprecationWarning, match="millpond.errors was renamed: import millpond.types.errors") as caught:
        assert millpond.errors.InvalidInputError is millpond.InvalidInputError
    assert [warning.filename for warning in caught] == [__file__]


def test_the_warning_of_import_module_names_the_line_that_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "millpond.specs", raising=False)
    with pytest.warns(DeprecationWarning, match="millpond.specs was renamed") as caught:
        importlib.import_module("millpond.specs")
    assert caught[0].filename == __file__


def test_a_record_may_state_the_former_reader_of_colbert() -> None:
    with pytest.warns(DeprecationWarning, match=r"millpond_models\.retrieval\.colbert_config") as caught:
        reader = imported("millpond.loading.late_interaction:read_stanford")
    assert "state millpond_models.retrieval.colbert_config:read_marked" in str(caught[-1].message)
    assert reader.__name__ == "read_marked"
