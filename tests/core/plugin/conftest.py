"""Fixtures of the tests of the plugin manager."""

import logging
import textwrap

import pytest

from millpond.plugin.manager import PluginManager
from millpond.testing.checkpoints import tiny

HEAD = """\
from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import ActivationSpec, PoolerSpec
"""


@pytest.fixture(scope="session")
def source():
    """The source of a plugin's module, of what follows its imports."""

    def source(body):
        return HEAD + textwrap.dedent(body)

    return source


@pytest.fixture(scope="session")
def brings(source):
    """Return the source of a plugin with poolers of these names."""

    def brings(*names):
        lines = [
            f'    yield PoolerSpec(name="{name}", target=f"{{__name__}}:{name}", tasks=("embed",))' for name in names
        ]
        classes = [f"class {name}: pass" for name in names if name.isidentifier()]
        return source("\n".join(["@hookimpl", "def register_poolers():", *lines, *classes]))

    return brings


@pytest.fixture(scope="session")
def installed_only():
    """Return a manager of the installed plugins, without the built-in ones."""

    def installed_only(**options):
        return PluginManager(ranks=("installed",), disabled=(), **options)

    return installed_only


@pytest.fixture(scope="session")
def info_of():
    """Return the information of a manager about a plugin."""

    def info_of(manager, name):
        (info,) = (info for info in manager.plugins() if info.name == name)
        return info

    return info_of


@pytest.fixture
def caplog(caplog):
    """Capture log messages from level INFO."""
    caplog.set_level(logging.INFO, logger="millpond")
    return caplog


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A tiny BERT."""
    return str(tiny("BertModel", tmp_path_factory.mktemp("blame") / "bert"))


@pytest.fixture
def manager():
    """A manager with nothing but the built-ins; ``take`` adds records of the plugin "acme"."""
    return PluginManager(ranks=("builtin",), disabled=())
