"""A checkpoint's tensors as a stream of (name, tensor): safetensors, whole or in shards; pickles only on request."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from millpond.loading.files import EXTRA_SUFFIXES, extra_file, shards
from millpond.types.checkpoint import ModuleFacts
from millpond.types.errors import CheckpointError

NAMES = ("model.safetensors", "pytorch_model.bin")


def iterate_weights(folder: Path, *, allow_pickle: bool = False) -> Iterator[tuple[str, Tensor]]:
    """The tensors of the checkpoint in a folder.

    Raises:
        CheckpointError: If files are missing or damaged, hold NaN or infinity, or are pickles without ``allow_pickle``.
    """
    for path in weight_files(folder, allow_pickle=allow_pickle):
        for name, tensor in read_tensors(path, allow_pickle=allow_pickle):
            check_finite(name, tensor, path)
            yield name, tensor


def weight_files(folder: Path, *, allow_pickle: bool = False) -> list[Path]:
    """The files that hold the checkpoint in a folder: one file before shards, as transformers chooses too."""
    for name in NAMES:
        index = folder / f"{name}.index.json"
        if (folder / name).exists():
            return [folder / name]
        if index.exists():
            return _shards(folder, index)
    there = sorted(item.name for item in folder.glob("*.safetensors"))
    if len(there) == 1:
        return [folder / there[0]]
    listing = ", ".join(sorted(item.name for item in folder.iterdir())) or "nothing"
    wanted = "model.safetensors or model.safetensors.index.json"
    message = f"{folder} has no {wanted}{', nor pytorch_model.bin' if allow_pickle else ''}; it holds: {listing}"
    raise CheckpointError(message)


def read_tensors(path: Path, *, allow_pickle: bool) -> Iterator[tuple[str, Tensor]]:
    """The tensors of one file."""
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if not allow_pickle:
        message = (
            f"{path} is a pickle, which can run code when it is read: pass allow_pickle=True (--allow-pickle) to read "
            "it with weights_only=True, or convert it to safetensors"
        )
        raise CheckpointError(message)
    return _read_pickle(path)


def check_finite(name: str, tensor: Tensor, path: Path) -> None:
    """Refuse a tensor that holds NaN or infinity."""
    # The sum is not finite if any value is not; the exact look is only for sums that overflow.
    if tensor.is_floating_point() and not tensor.sum(dtype=torch.float32).isfinite():
        bad = int((~tensor.isfinite()).sum())
        if bad:
            message = f"{name!r} in {path} holds {bad} values that are NaN or infinite: the checkpoint is damaged"
            raise CheckpointError(message)


def _shards(folder: Path, index: Path) -> list[Path]:
    paths = shards(folder, index)
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        message = f"{index} names shards that are not in {folder}: {', '.join(missing)}. Fetch the model again"
        raise CheckpointError(message)
    return paths


def _read_safetensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  not a mapping
                yield name, file.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def _read_pickle(path: Path) -> Iterator[tuple[str, Tensor]]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        message = f"{path} cannot be read with weights_only=True: {error}"
        raise CheckpointError(message) from error
    if not isinstance(state, dict):
        message = f"{path} should hold a dict of tensors; it holds {type(state).__name__}"
        raise CheckpointError(message)
    for name, value in state.items():
        if isinstance(name, str) and isinstance(value, Tensor):
            yield name, value


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path} is damaged or truncated ({error}): fetch the model again")


def iterate_extra_weights(folder: Path, names: tuple[str, ...], *, allow_pickle: bool) -> Iterator[tuple[str, Tensor]]:
    """The tensors of files beside a model's, each by the name of its file, a dot and its own.

    Raises:
        CheckpointError: If a file is not there, is damaged, or is a pickle without ``allow_pickle``.
    """
    for name in names:
        path = extra_file(folder, name)
        if path is None:
            wanted = " nor ".join(f"{name}{suffix}" for suffix in EXTRA_SUFFIXES)
            message = f"{folder} has neither {wanted}, which the model needs"
            raise CheckpointError(message)
        for own, tensor in read_tensors(path, allow_pickle=allow_pickle):
            check_finite(own, tensor, path)
            yield f"{name}.{own}", tensor


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
