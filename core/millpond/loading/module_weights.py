"""The tensors of a module's folder, checked against the shapes that its config implies."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from millpond.loading.weights import NAMES, check_finite, read_tensors
from millpond.types.errors import CheckpointError
from millpond_formats.sentence_transformers.module import Module

if TYPE_CHECKING:
    from pathlib import Path


class ModuleWeights:
    """The tensors of one module, in float32.

    Attributes:
        path: The file that they are in.
        names: The names of all of them.
    """

    def __init__(self, module: Module, device: torch.device, *, allow_pickle: bool) -> None:
        path = next((module.path / name for name in NAMES if (module.path / name).exists()), None)
        if path is None:
            message = f"{module.path} is a {module.type} module without weights: it should hold {' or '.join(NAMES)}"
            raise CheckpointError(message)
        self.path: Path = path
        self._tensors: Mapping[str, Tensor] = {
            name: tensor.to(device, torch.float32) for name, tensor in read_tensors(path, allow_pickle=allow_pickle)
        }
        self.names = tuple(sorted(self._tensors))

    def get(self, name: str, shape: Sequence[object]) -> Tensor:
        """A tensor.

        Args:
            name: Its name.
            shape: The shape that the module's config implies.

        Raises:
            CheckpointError: If it is missing, of another shape, or not finite.
        """
        if name not in self._tensors:
            message = f"{self.path} has no {name!r}; it has: {', '.join(self.names)}"
            raise CheckpointError(message)
        tensor = self._tensors[name]
        if list(tensor.shape) != list(shape):
            message = f"{self.path}: {name!r} has the shape {list(tensor.shape)}, where its config.json says {shape}"
            raise CheckpointError(message)
        check_finite(name, tensor, self.path)
        return tensor
