"""Fixtures for authors of plugins. pytest loads this module at each start, so it imports pytest and little else."""

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
    """A fresh manager of all plugins that are installed; the test may register more without harm to others."""
    from millpond.plugin.manager import PluginManager  # noqa: PLC0415  (pytest starts without it)

    return PluginManager()


@pytest.fixture
def registry() -> "Registry":
    """What the built-in plugins bring, and nothing else that happens to be installed."""
    from millpond.plugin.manager import PluginManager  # noqa: PLC0415  (pytest starts without it)

    return PluginManager(ranks=("builtin",), disabled=()).registry


@dataclass(frozen=True)
class InstallPlugin:
    """Makes plugins known as pip would: by distributions with an entry point of the group ``millpond``.

    Attributes:
        root: The folder below which they are installed.
        patch: What undoes it.
    """

    root: Path
    patch: pytest.MonkeyPatch

    def __call__(
        self, module: str | ModuleType, name: str, *, distribution: str | None = None, version: str = "1.0"
    ) -> Path:
        """Install a plugin; the manager of the process is forgotten, and made anew when it is next asked for.

        Args:
            module: The source of the plugin's module, or the module. Source can name its own objects by
                ``target=f"{__name__}:Name"``.
            name: The name of the entry point.
            distribution: The name of the distribution; default: ``millpond-NAME``.
            version: The version of the distribution.

        Returns:
            The folder that was put on ``sys.path``.
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
        self._forget_manager()
        return folder

    def _forget_manager(self) -> None:
        from millpond.plugin import manager as plugins  # noqa: PLC0415  (pytest starts without it)

        self.patch.setattr(plugins, "_process", plugins.Process())


@pytest.fixture
def install_plugin(tmp_path: Path) -> Iterator[InstallPlugin]:
    """Install plugins for the length of the test, without pip."""
    root = tmp_path / "installed"
    with pytest.MonkeyPatch.context() as patch:
        yield InstallPlugin(root, patch)
    _forget_modules(root)


def _write_dist_info(folder: Path, distribution: str, version: str, entry_points: str) -> None:
    dist_info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    dist_info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
    (dist_info / "METADATA").write_text(metadata, encoding="utf-8")
    (dist_info / "entry_points.txt").write_text(entry_points, encoding="utf-8")


def _forget_modules(folder: Path) -> None:
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file is not None and Path(file).is_relative_to(folder):
            del sys.modules[name]
    importlib.invalidate_caches()
