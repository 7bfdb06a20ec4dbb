"""The op ``linear``: ``x @ weight.T + bias``, in torch. Kernels are classes, constructed with the weights."""

from torch import Tensor
from torch.nn import functional

TILE_ROWS = 64  # rows of a product on an accelerator, where single rows would be slow


class LinearTorch:
    """torch's linear layer. All kernels of the op have this interface."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """Keep the weight, [outputs, inputs], and the bias, [outputs] or None."""
        self.weight = weight
        self.bias = bias

    def __call__(self, x: Tensor, *, add_bias: bool = True) -> Tensor:
        """[rows, inputs] -> [rows, outputs]; ``add_bias=False`` leaves out the bias."""
        return functional.linear(x, self.weight, self.bias if add_bias else None)


class LinearTiles(LinearTorch):
    """A linear layer with one fixed shape of products, so that results do not depend on the number of rows: slow.

    On a CPU a tile is one row, because libraries compute the last rows of a product differently. Tiles are copied,
    because the results of libraries also depend on the address of a row.
    """

    def __call__(self, x: Tensor, *, add_bias: bool = True) -> Tensor:
        """[rows, inputs] -> [rows, outputs]; ``add_bias=False`` leaves out the bias."""
        height = 1 if x.device.type == "cpu" else TILE_ROWS
        output = x.new_empty(len(x), len(self.weight))
        tile = x.new_zeros(height, x.shape[1])
        for start in range(0, len(x), height):
            rows = x[start : start + height]
            tile[: len(rows)] = rows
            output[start : start + height] = functional.linear(tile, self.weight)[: len(rows)]
        return output + self.bias if add_bias and self.bias is not None else output


def padded(values: Tensor, *multiples: int) -> Tensor:
    """Pad each dimension with zeros to a multiple; values that already fit are not copied."""
    sides: list[int] = []  # the last dimension first
    for size, multiple in zip(values.shape, multiples, strict=True):
        sides = [0, -size % multiple, *sides]
    return functional.pad(values, sides) if any(sides) else values
