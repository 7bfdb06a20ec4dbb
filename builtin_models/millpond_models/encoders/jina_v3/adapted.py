"""Linear layers and embeddings with a low-rank update, and models that share all other modules."""

import copy
from collections.abc import Callable, Mapping
from typing import TypeVar

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear
from millpond_models.layers.embeddings import Embedding

M = TypeVar("M", bound=nn.Module)
Projection = Callable[[Tensor], Tensor]
LinearKernel = Callable[[Tensor, Tensor | None], Projection]  # an implementation of the op ``linear``


class AdaptedLinear(nn.Module):
    """A linear layer with a low-rank update: ``base(x) + up @ (down @ x)``.

    Attributes:
        map: None, because kernels cannot fuse the layer with others.
    """

    map = None

    def __init__(self, base: Linear, up: Projection, down: Projection) -> None:
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
        updated: Tensor = self.base(x, add_bias=add_bias) + self.up(self.down(x))
        return updated


class AdaptedEmbedding(nn.Module):
    """Embeddings with a low-rank update: ``base(ids) + down(rows[ids])``, where ``rows`` is [num_embeddings, rank]."""

    def __init__(self, base: Embedding, rows: Tensor, down: Projection) -> None:
        super().__init__()
        self.base = base
        self.register_buffer("rows", rows, persistent=False)
        self.down = down

    @property
    def weight(self) -> Tensor:
        """All embeddings, [num_embeddings, size]; only used for small tables."""
        return self.base.weight + self.down(self.get_buffer("rows"))

    def forward(self, ids: Tensor) -> Tensor:
        """[num_tokens] -> [num_tokens, size]."""
        updated: Tensor = self.base(ids) + self.down(self.get_buffer("rows")[ids])
        return updated


def with_updates(module: M, updates: Mapping[str, tuple[Tensor, Tensor]], ctx: Context) -> M:
    """Return a module with some updated submodules. Their parents are copied; all other submodules are shared.

    Args:
        module: The module, which is not modified.
        updates: ``up`` [rows, rank] and ``down`` [rank, columns] of each weight update, by the path of the module.
        ctx: The model's context; updates are not quantized.
    """
    return _copy(module, updates, ctx.unquantized().op("linear"), "")


def _copy(module: M, updates: Mapping[str, tuple[Tensor, Tensor]], kernel: LinearKernel, prefix: str) -> M:
    duplicate = copy.copy(module)
    children = dict(module._modules)  # noqa: SLF001  a shallow copy shares the dictionary with the original
    for name, child in children.items():
        path = f"{prefix}{name}"
        if child is None:
            continue
        if path in updates:
            children[name] = _update(child, *updates[path], kernel)
        elif any(updated.startswith(f"{path}.") for updated in updates):
            children[name] = _copy(child, updates, kernel, f"{path}.")
    duplicate._modules = children  # noqa: SLF001  as above
    return duplicate


def _update(module: nn.Module, up: Tensor, down: Tensor, kernel: LinearKernel) -> nn.Module:
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor):
        message = f"adapters can only update modules with a weight; got {type(module).__name__}"
        raise TypeError(message)
    # Updates are computed in the dtype of the hidden states; the weights may be stored in another one.
    dtype = getattr(module, "output_dtype", getattr(module, "dtype", weight.dtype))
    up, down = (tensor.to(device=weight.device, dtype=dtype) for tensor in (up, down))
    if isinstance(module, Embedding):
        return AdaptedEmbedding(module, up, kernel(down.T.contiguous(), None))
    if isinstance(module, Linear):
        return AdaptedLinear(module, kernel(up, None), kernel(down, None))
    message = f"adapters can only update linear layers and embeddings; got {type(module).__name__}"
    raise TypeError(message)
