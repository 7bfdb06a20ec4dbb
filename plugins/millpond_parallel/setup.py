"""EngineProcessSetup: the model of an engine process, and the check that the process has the same plugins."""

import pickle
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from millpond.executor import EngineSetup
from millpond.loading.arguments import Arguments
from millpond.plugin.discovery import candidates
from millpond.plugin.manager import PluginManager, get_plugin_manager
from millpond.types.errors import InvalidInputError, PluginError
from millpond.types.parallel import ParallelOptions
from millpond_parallel.placement import Placement

if TYPE_CHECKING:
    from millpond.model.repository import Repository
    from millpond.plugin.registry import Origin


@dataclass(frozen=True, kw_only=True)
class EngineProcessSetup:
    """The model of an engine process, and the conditions under which it computes.

    Attributes:
        repository: The model's folder, with the state of each file when the program loaded the model.
        arguments: The arguments of ``LLM``, with the device and the number of workers of the process.
        plugins: The built-in and installed plugins of the program; None for all that are not disabled.
        versions: The versions of these plugins.
        num_threads: The number of threads that torch uses for one batch.
    """

    repository: "Repository"
    arguments: Arguments
    plugins: frozenset[str] | None
    versions: "dict[str, str]"
    num_threads: int

    def manager(self) -> PluginManager:
        """Load the plugins of the program in the engine process.

        Raises:
            PluginError: If one of them cannot be loaded here, or has another version.
        """
        manager = get_plugin_manager()
        if self.plugins is not None:
            installed = {candidate.origin.plugin for candidate in candidates()}
            manager = PluginManager(disabled=installed - self.plugins)
        versions = _versions(manager)
        for name, version in self.versions.items():
            if versions.get(name) != version:
                state = f"version {versions[name]!r}" if name in versions else "not loaded"
                message = f"the plugin {name} has version {version!r} in the program; its engine process: {state}"
                raise PluginError(message)
        return manager


def setup_for(setup: EngineSetup, location: Placement) -> bytes:
    """Return the pickled setup of an engine process.

    Raises:
        InvalidInputError: If an argument cannot be sent to another process.
    """
    arguments, repository = setup.arguments, setup.loaded.layers.repository
    if callable(arguments.load.hf_overrides):
        message = "hf_overrides is a function, which engine processes cannot receive: pass the dict that it returns"
        raise InvalidInputError(message, parameter="hf_overrides")
    engine = arguments.engine
    if torch.device(location.device).type == "cpu" and engine.num_workers is None:
        engine = engine.model_copy(update={"num_workers": location.num_cores})
    is_default = setup.plugins is get_plugin_manager()
    versions = _versions(setup.plugins)
    return pickle.dumps(
        EngineProcessSetup(
            repository=replace(repository, path=repository.path.absolute(), plugins=None),
            arguments=replace(arguments, device=location.device, engine=engine, parallel=ParallelOptions()),
            plugins=None if is_default else frozenset(versions),
            versions=versions,
            num_threads=min(torch.get_num_threads(), location.num_cores),
        )
    )


def import_path() -> list[str]:
    """Return the folders from which an engine process imports modules, like this process."""
    return [str(Path(folder).absolute()) for folder in sys.path]


def _versions(manager: PluginManager) -> dict[str, str]:
    """Return the versions of the loaded plugins, without those that the program registered."""
    loaded: list[Origin] = [info.origin for info in manager.plugins() if info.status == "ok"]
    return {origin.plugin: origin.version for origin in loaded if origin.rank != "runtime"}
