"""Fixtures for plugin authors. pytest loads this module at every start, so it imports little besides pytest."""

import importlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from millpond.plugin.manager import PluginManager
    from millpond.plugin.registry import Registry

pytest_plugins = ("millpond.testing.time_limit",)


@pytest.fixture
def plugin_manager() -> "PluginManager":
    """Return a new manager of all installed plugins; records that the test registers do not affect other tests."""
    from millpond.plugin.manager import PluginManager  # noqa: PLC0415  keeps the start of pytest fast

    return PluginManager()


@pytest.fixture
def registry() -> "Registry":
    """Return the records of the built-in plugins, without other installed plugins."""
    from millpond.plugin.manager import PluginManager  # noqa: PLC0415  keeps the start of pytest fast

    return PluginManager(ranks=("builtin",), disabled=()).registry


@dataclass(frozen=True)
class InstallPlugin:
    """Installs plugins like pip: as distributions with an entry point of the group ``millpond``.

    Attributes:
        root: The parent folder of the installed distributions.
        patch: The monkeypatch that removes them at the end of the test.
    """

    root: Path
    patch: pytest.MonkeyPatch

    def __call__(
        self, module: str | ModuleType, name: str, *, distribution: str | None = None, version: str = "1.0"
    ) -> Path:
        """Install a plugin; the process-wide plugin manager is reset and built again when it is next used.

        Args:
            module: The source code of the plugin's module, or the module. Source code can refer to its own objects with
                ``target=f"{__name__}:Name"``.
            name: The name of the entry point.
            distribution: The name of the distribution; default: ``millpond-NAME``.
            version: The version of the distribution.

        Returns:
            The folder that was added to ``sys.path``.
        """
        distribution = distribution or f"millpond-{name}"
        folder = self.root / f"{sum(1 for _ in self.root.glob('*'))}-{distribution}"
        folder.mkdir(parents=True)
        if isinstance(module, ModuleType):
            module_name = module.__name__
            self.patch.setitem(sys.modules, module_name, module)
        else:
            module_name = re.sub(r"\W", "_", f"{distribution}_{name}_plugin")
            (folder / f"{module_name}.py").write_text(module, encoding="utf-8")
        _write_dist_info(folder, distribution, version, f"[millpond]\n{name} = {module_name}\n")
        self.patch.syspath_prepend(folder)
        self._reset_manager()
        return folder

    def _reset_manager(self) -> None:
        from millpond.plugin import manager as plugins  # noqa: PLC0415  keeps the start of pytest fast

        self.patch.setattr(plugins, "_process", plugins.Process())


@pytest.fixture
def install_plugin(tmp_path: Path) -> Iterator[InstallPlugin]:
    """Return a function that installs plugins without pip, until the end of the test."""
    root = tmp_path / "installed"
    with pytest.MonkeyPatch.context() as patch:
        yield InstallPlugin(root, patch)
    _remove_modules(root)


def _write_dist_info(folder: Path, distribution: str, version: str, entry_points: str) -> None:
    dist_info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    dist_info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
    (dist_info / "METADATA").write_text(metadata, encoding="utf-8")
    (dist_info / "entry_points.txt").write_text(entry_points, encoding="utf-8")


def _remove_modules(folder: Path) -> None:
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file is not None and Path(file).is_relative_to(folder):
            del sys.modules[name]
    importlib.invalidate_caches()
