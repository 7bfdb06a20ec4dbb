"""The tensors of a module's folder, checked against the shapes that its config implies."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from millpond.loading.weights import NAMES, check_finite, read_tensors
from millpond.types.checkpoint import ModuleFacts
from millpond.types.errors import CheckpointError


class ModuleWeights:
    """The tensors of one module, in float32; read when the first is asked for.

    Args:
        module: The module.
        device: Where its tensors are put.
        allow_pickle: True if they may be pickled.
    """

    def __init__(self, module: ModuleFacts, device: torch.device, *, allow_pickle: bool) -> None:
        self.folder, self._type = module.path, module.type
        self._device, self._allow_pickle = device, allow_pickle

    @cached_property
    def path(self) -> Path:
        """The file that they are in.

        Raises:
            CheckpointError: If there is none.
        """
        path = next((self.folder / name for name in NAMES if (self.folder / name).exists()), None)
        if path is None:
            message = f"{self.folder} is a {self._type} module without weights: it should hold {' or '.join(NAMES)}"
            raise CheckpointError(message)
        return path

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all of them."""
        return tuple(sorted(self._tensors))

    def find(self, name: str) -> Tensor | None:
        """A tensor of any shape; None if there is none of that name."""
        return self._tensors.get(name)

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

    @cached_property
    def _tensors(self) -> Mapping[str, Tensor]:
        found = read_tensors(self.path, allow_pickle=self._allow_pickle)
        return {name: tensor.to(self._device, torch.float32) for name, tensor in found}
