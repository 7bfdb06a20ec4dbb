"""The public names: each is importable, and those for type checkers are those for Python."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import millpond
import millpond_jobs
from millpond.types import errors


def typed_imports(package):
    """Return the module of each name, as type checkers see it."""
    source = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in source.body if isinstance(node, ast.If)]
    return {alias.asname: node.module for node in block.body for alias in node.names}


def lazy_imports():
    """Return the module of each name, as Python imports it."""
    return {name: f"millpond.{module}" for name, module in millpond._HOME.items()}  # noqa: SLF001


@pytest.mark.parametrize("name", millpond.__all__)
def test_every_public_name_exists_and_has_a_docstring(name):
    value = getattr(millpond, name)
    assert value.__name__ == name
    assert value.__module__ == lazy_imports()[name]
    assert value.__doc__
    assert name in dir(millpond)


def test_type_checkers_and_python_see_the_same_names():
    assert lazy_imports() == typed_imports(millpond)
    assert list(millpond.__all__) == list(lazy_imports())
    assert typed_imports(millpond_jobs) == millpond_jobs._HOME  # noqa: SLF001


def test_every_error_is_public_or_derived_from_a_public_one():
    public = tuple(getattr(millpond, name) for name in millpond.__all__ if name.endswith("Error"))
    defined = [
        value for value in vars(errors).values() if isinstance(value, type) and value.__module__ == errors.__name__
    ]
    assert len(defined) > 8
    for error in defined:
        assert issubclass(error, millpond.MillpondError)
        assert error in public or any(issubclass(error, base) for base in public if base is not millpond.MillpondError)


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'millpond' has no attribute 'LLMM'"):
        _ = millpond.LLMM


def test_a_star_import_imports_only_public_names():
    code = "from millpond import *; import json; print(json.dumps(sorted(n for n in dir() if n[0] != '_')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(ast.literal_eval(done.stdout)) == {*millpond.__all__, "json"}


def test_version_prints_the_version():
    assert millpond.__version__.count(".") == 2


def test_importing_millpond_jobs_imports_nothing_heavy():
    code = "import sys, millpond_jobs; print('pyarrow' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
