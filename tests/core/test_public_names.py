"""The public names: one list, each name importable, and the lists in ``millpond/__init__.py`` in agreement."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import millpond
from millpond.types import errors

SOURCE = ast.parse(Path(millpond.__file__).read_text(encoding="utf-8"))


def typed_imports():
    """What type checkers see: name -> module."""
    (block,) = [node for node in SOURCE.body if isinstance(node, ast.If)]
    return {alias.asname: node.module for node in block.body for alias in node.names}


def lazy_imports():
    """What Python sees: name -> module."""
    (block,) = [node for node in SOURCE.body if isinstance(node, ast.If)]
    (home,) = [node for node in block.orelse if isinstance(node, ast.Assign)]
    return ast.literal_eval(home.value)


def isort_order(name):
    """CONSTANTS first, then Classes, then functions, each by name: as the linter sorts ``__all__``."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize("name", millpond.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name):
    value = getattr(millpond, name)
    assert value.__name__ == name
    assert value.__module__ == f"millpond.{lazy_imports()[name]}"
    assert value.__doc__
    assert name in dir(millpond)


def test_the_list_is_sorted_and_names_each_once():
    assert list(millpond.__all__) == sorted(set(millpond.__all__), key=isort_order)


def test_the_three_lists_agree():
    assert sorted(typed_imports()) == sorted(millpond.__all__)
    assert {name: f"millpond.{module}" for name, module in lazy_imports().items()} == typed_imports()


def test_every_error_is_public_or_a_kind_of_one_that_is():
    public = tuple(getattr(millpond, name) for name in millpond.__all__ if name.endswith("Error"))
    own = [value for value in vars(errors).values() if isinstance(value, type) and value.__module__ == errors.__name__]
    assert len(own) > 8
    for error in own:
        assert issubclass(error, millpond.MillpondError)
        assert error in public or any(issubclass(error, base) for base in public if base is not millpond.MillpondError)


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'millpond' has no attribute 'LLMM'"):
        _ = millpond.LLMM


def test_a_star_import_brings_the_public_names_alone():
    code = "from millpond import *; import json; print(json.dumps(sorted(n for n in dir() if n[0] != '_')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(ast.literal_eval(done.stdout)) == {*millpond.__all__, "json"}


def test_version_is_told():
    assert millpond.__version__.count(".") == 2
