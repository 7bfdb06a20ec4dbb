"""Names of modules before 0.2: importing one imports the module with the new name, with a DeprecationWarning."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Final

from millpond.compat.warn import warn_caller

if TYPE_CHECKING:
    from importlib.abc import Loader
else:
    Loader = object  # importing importlib.abc would double the time of `import millpond`

MOVED: Final = {
    "millpond.cli": "millpond_command.cli",
    "millpond.config": "millpond.types.config",
    "millpond.declare": "millpond_command.declare",
    "millpond.errors": "millpond.types.errors",
    "millpond.hookspecs": "millpond.plugin.hookspecs",
    "millpond.image_options": "millpond.types.image_options",
    "millpond.image_reader": "millpond.pipeline.image_reader",
    "millpond.inputs": "millpond.types.prompts",
    "millpond.io_processor": "millpond.pipeline.io_processor",
    "millpond.late_chunking": "millpond.types.late_chunking",
    "millpond.late_interaction": "millpond.types.late_interaction",
    "millpond.loading.late_interaction": "millpond_models.retrieval.colbert_config",
    "millpond.nn.placement": "millpond.nn.weight_loading",
    "millpond.nn.steady": "millpond.nn.batch_invariant",
    "millpond.model_arguments": "millpond_command.model_arguments",
    "millpond.model_options": "millpond_command.model_options",
    "millpond.outputs": "millpond.types.outputs",
    "millpond.params": "millpond.types.params",
    "millpond.plugins": "millpond.plugin.manager",
    "millpond.registry": "millpond.plugin.registry",
    "millpond.specs": "millpond.plugin.specs",
    "millpond.testing.biased": "millpond_models.testing.biased",
    "millpond.testing.decoders": "millpond_models.testing.decoders",
    "millpond.testing.encoder_families": "millpond_models.testing.encoder_families",
    "millpond.testing.encoders": "millpond_models.testing.encoders",
    "millpond.testing.gpt2": "millpond_models.testing.gpt2",
    "millpond.testing.gritlm": "millpond_models.testing.gritlm",
    "millpond.testing.heads": "millpond_models.testing.heads",
    "millpond.testing.lfm2": "millpond_models.testing.lfm2",
    "millpond.testing.nemotron_vl": "millpond_models.testing.nemotron_vl",
    "millpond.testing.phi3_vision": "millpond_models.testing.phi3_vision",
    "millpond.testing.published": "millpond_models.testing.published",
    "millpond.testing.retrieval": "millpond_models.testing.bge_m3",
    "millpond.testing.two_towers": "millpond_models.testing.dual_encoders",
    "millpond.testing.vision_language": "millpond_transformers.testing.vision_language",
    "millpond.testing.vision_retrieval": "millpond_transformers.testing.vision_retrieval",
    "millpond_models.retrieval.colbert_sides": "millpond_models.retrieval.colbert_config",
}


class MovedModules(Loader):
    """Finds a module by its former name; the import returns the module with the new name."""

    def __init__(self) -> None:
        self._specs: dict[str, ModuleSpec | None] = {}

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002  the signature is Python's
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Return the spec of a module that moved; None for any other."""
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Import the module by its new name."""
        new = MOVED[spec.name]
        warn_caller(f"{spec.name} was renamed: import {new}")
        module = import_module(new)
        self._specs[new] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Restore the spec of the module, which the import with another name replaced."""
        module.__spec__ = self._specs.pop(module.__name__)


def install() -> None:
    """Enable imports of modules by their former names."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(MovedModules())
