"""Linear maps and tables with a change of low rank, and models in which some are changed: all else is shared."""

import copy
from collections.abc import Callable, Mapping
from typing import TypeVar

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear
from millpond_models.layers.embeddings import Table

M = TypeVar("M", bound=nn.Module)
Map = Callable[[Tensor], Tensor]
Kernel = Callable[[Tensor, Tensor | None], Map]  # an implementation of the op ``linear``


class AdaptedLinear(nn.Module):
    """A linear map with a change of its weight: ``base(x) + up @ (down @ x)``.

    Attributes:
        map: None: no kernel computes it together with another map.
    """

    map = None

    def __init__(self, base: Linear, up: Map, down: Map) -> None:
        super().__init__()
        self.base = base
        self.up = up
        self.down = down

    @property
    def bias(self) -> Tensor | None:
        """[sum of out_features], or None."""
        return self.base.bias

    def forward(self, x: Tensor, *, add_bias: bool = True) -> Tensor:
        """[num_tokens, in_features] -> [num_tokens, sum of out_features]; see ``Linear``."""
        changed: Tensor = self.base(x, add_bias=add_bias) + self.up(self.down(x))
        return changed


class AdaptedTable(nn.Module):
    """A table with a change of its rows: ``base(ids) + down(rows[ids])``, where the rows are of low rank."""

    def __init__(self, base: Table, rows: Tensor, down: Map) -> None:
        super().__init__()
        self.base = base
        self.register_buffer("rows", rows, persistent=False)
        self.down = down

    @property
    def weight(self) -> Tensor:
        """All rows, [rows, size]; for tables that are small."""
        return self.base.weight + self.down(self.get_buffer("rows"))

    def forward(self, ids: Tensor) -> Tensor:
        """[num_tokens] -> [num_tokens, size]."""
        changed: Tensor = self.base(ids) + self.down(self.get_buffer("rows")[ids])
        return changed


def with_changes(module: M, changes: Mapping[str, tuple[Tensor, Tensor]], ctx: Context) -> M:
    """A module in which some maps and tables are changed. What leads to them is copied, all else is shared.

    Args:
        module: The module; it stays as it is.
        changes: ``up`` [rows, rank] and ``down`` [rank, columns] for each dotted path: what is added to its weight.
        ctx: The model's context; changes are not quantised.
    """
    return _copied(module, changes, ctx.unquantized().op("linear"), "")


def _copied(module: M, changes: Mapping[str, tuple[Tensor, Tensor]], kernel: Kernel, path: str) -> M:
    twin = copy.copy(module)
    children = dict(module._modules)  # noqa: SLF001  a copy of a module would share the original's
    for name, child in children.items():
        here = f"{path}{name}"
        if child is None:
            continue
        if here in changes:
            children[name] = _changed(child, *changes[here], kernel)
        elif any(changed.startswith(f"{here}.") for changed in changes):
            children[name] = _copied(child, changes, kernel, f"{here}.")
    twin._modules = children  # noqa: SLF001  as above
    return twin


def _changed(module: nn.Module, up: Tensor, down: Tensor, kernel: Kernel) -> nn.Module:
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor):
        message = f"{type(module).__name__} has no weight that an adapter could change"
        raise TypeError(message)
    up, down = (tensor.to(device=weight.device, dtype=weight.dtype) for tensor in (up, down))
    if isinstance(module, Table):
        return AdaptedTable(module, up, kernel(down.T.contiguous(), None))
    if isinstance(module, Linear):
        return AdaptedLinear(module, kernel(up, None), kernel(down, None))
    message = f"{type(module).__name__} is no map and no table: no adapter can change it"
    raise TypeError(message)
