"""The tensors of published checkpoints, by name and shape, without memory: what a class must find parameters for."""

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
        architecture: What its config.json names.
        config: What else it says.
        written_by: The class of transformers that wrote it, or what gives its tensors: (config) -> name to shape.
        prefix: What stands before the names that ``written_by`` gives.
        renamed: Patterns of names and what stands in their place.
        besides: Tensors that it holds besides; "size" is the hidden size.
        without: A pattern of what it does not hold, such as a head that is tied.
        options: What it is loaded with.
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
        """Each tensor by its name, on the meta device."""
        size = self.config.get("hidden_size", self.config.get("n_embd"))
        shapes: dict[str, tuple[Any, ...]] = {
            f"{self.prefix}{name}": shape for name, shape in written_by(self.written_by, self.config).items()
        }
        for pattern, replacement in self.renamed:
            shapes = {re.sub(pattern, replacement, name): shape for name, shape in shapes.items()}
        shapes |= {name: tuple(size if it == "size" else it for it in shape) for name, shape in self.besides.items()}
        for name, shape in shapes.items():
            if not (self.without and re.fullmatch(self.without, name)):
                yield name, torch.empty(shape, device="meta")


def written_by(layout: Layout, config: Mapping[str, Any]) -> Mapping[str, Shape]:
    """Names and shapes: what a class of transformers would write, or what a function says.

    Args:
        layout: The name of the class, or the function.
        config: What config.json says.
    """
    if not isinstance(layout, str):
        return layout(config)
    kind = getattr(importlib.import_module("transformers"), layout)
    values = {key: value for key, value in config.items() if key not in ("num_labels", "model_type")}
    with torch.device("meta"):
        made = kind(kind.config_class(**values, num_labels=config.get("num_labels", 2)))
    return {name: tuple(tensor.shape) for name, tensor in made.state_dict().items()}
