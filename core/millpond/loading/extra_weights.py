"""Files with weights of further heads that lie beside a model's: what they make of it, and their tensors."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from millpond.loading.repository import Repository
    from millpond.plugin.registry import Registry

logger = logging.getLogger(__name__)
SUFFIXES = (".safetensors", ".pt")
PICKLED = ".pt"


def with_extra_heads(
    registry: "Registry", repository: "Repository", config: CheckpointConfig, *, allow_pickle: bool
) -> CheckpointConfig:
    """config.json with the architecture that reads the files beside the model too, if there is one and they are there.

    Where they are pickles, and those are not allowed, it stays as it is, and the log says so.
    """
    names = config.get("architectures")
    if not isinstance(names, list) or not names:
        return config
    for entry in registry.architectures.entries():
        layout = entry.spec.checkpoint
        if not layout.extra_files or names[0] not in layout.supersedes:
            continue
        found = [extra_file(repository.transformer_path, name) for name in layout.extra_files]
        paths = [path for path in found if path is not None]
        if len(paths) < len(found):
            continue
        if any(path.suffix == PICKLED for path in paths) and not allow_pickle:
            files = ", ".join(path.name for path in paths)
            logger.warning(
                "%s: the heads beside it (%s) are pickles and left out: allow_pickle=True reads them with "
                "weights_only=True",
                repository.model,
                files,
            )
            continue
        return config.overridden({"architectures": [entry.spec.name]})
    return config


def iterate_extra_weights(
    folder: Path, names: tuple[str, ...], *, allow_pickle: bool
) -> "Iterator[tuple[str, Tensor]]":
    """The tensors of files beside a model's, each by the name of its file, a dot and its own.

    Raises:
        CheckpointError: If a file is not there, is damaged, or is a pickle without ``allow_pickle``.
    """
    from millpond.loading.weights import check_finite, read_tensors  # noqa: PLC0415  needs torch; choosing does not

    for name in names:
        path = extra_file(folder, name)
        if path is None:
            message = (
                f"{folder} has neither {' nor '.join(name + suffix for suffix in SUFFIXES)}, which the model needs"
            )
            raise CheckpointError(message)
        for own, tensor in read_tensors(path, allow_pickle=allow_pickle):
            check_finite(own, tensor, path)
            yield f"{name}.{own}", tensor


def extra_file(folder: Path, name: str) -> Path | None:
    """The file of that name beside a model's; None if there is none."""
    return next((path for suffix in SUFFIXES if (path := folder / f"{name}{suffix}").is_file()), None)
