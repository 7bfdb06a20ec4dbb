"""Tensor names and shapes of published checkpoints, without memory, for testing that a class can load them."""

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from millpond.testing.checkpoints import Shape

Layout = str | Callable[[Mapping[str, Any]], Mapping[str, Shape]]


@dataclass(frozen=True)
class Published:
    """A published checkpoint.

    Attributes:
        architecture: The architecture in config.json.
        config: The other keys of config.json.
        written_by: The class of transformers that wrote it, or a function from the config to shapes by name.
        prefix: Prefix of the names from ``written_by``.
        renamed: Patterns of names and their replacements.
        besides: Additional tensors; "size" is the hidden size.
        without: Pattern of tensors that it does not contain, such as a tied head.
        options: Arguments for loading it.
    """

    architecture: str
    config: Mapping[str, Any]
    written_by: Layout
    prefix: str = ""
    renamed: tuple[tuple[str, str], ...] = ()
    besides: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    without: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield each tensor with its name, on the meta device."""
        size = self.config.get("hidden_size", self.config.get("n_embd"))
        shapes: dict[str, tuple[Any, ...]] = {
            f"{self.prefix}{name}": shape for name, shape in written_by(self.written_by, self.config).items()
        }
        for pattern, replacement in self.renamed:
            shapes = {re.sub(pattern, replacement, name): shape for name, shape in shapes.items()}
        shapes |= {name: tuple(size if dim == "size" else dim for dim in shape) for name, shape in self.besides.items()}
        for name, shape in shapes.items():
            if not (self.without and re.fullmatch(self.without, name)):
                yield name, torch.empty(shape, device="meta")


def written_by(layout: Layout, config: Mapping[str, Any]) -> Mapping[str, Shape]:
    """Return the tensor shapes by name that a class of transformers writes, or that a function returns.

    Args:
        layout: The name of the class, or the function.
        config: The keys of config.json.
    """
    if not isinstance(layout, str):
        return layout(config)
    model_class = getattr(importlib.import_module("transformers"), layout)
    values = {key: value for key, value in config.items() if key not in ("num_labels", "model_type")}
    with torch.device("meta"):
        model = model_class(model_class.config_class(**values, num_labels=config.get("num_labels", 2)))
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
