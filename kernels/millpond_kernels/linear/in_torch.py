"""The op ``linear``: ``x @ weight.T + bias``, in torch. A kernel is built of the weights, once, and then called."""

import torch
from torch import Tensor
from torch.nn import functional

TILE = 64  # rows of a product on an accelerator, where one row at a time would leave it idle


class LinearTorch:
    """torch's own linear map. Every kernel of the op is built and called like this one."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """Keep [outputs, inputs] and [outputs]."""
        self.weight = weight
        self.bias = bias

    def __call__(self, x: Tensor, *, add_bias: bool = True) -> Tensor:
        """[rows, inputs] -> [rows, outputs]; without ``add_bias`` the bias is left to the op that follows."""
        return functional.linear(x, self.weight, self.bias if add_bias else None)


class LinearTiles(LinearTorch):
    """Products of one shape alone, so that a row's result does not depend on how many there are: slow.

    On a CPU a tile is one row: libraries treat the rows at the edge of a product their own way. Tiles are copied, since
    libraries also go by where in memory a row starts.
    """

    def __call__(self, x: Tensor, *, add_bias: bool = True) -> Tensor:
        """[rows, inputs] -> [rows, outputs]; without ``add_bias`` the bias is left to the op that follows."""
        height = 1 if x.device.type == "cpu" else TILE
        output = x.new_empty(len(x), len(self.weight))
        tile = x.new_zeros(height, x.shape[1])
        for start in range(0, len(x), height):
            rows = x[start : start + height]
            tile[: len(rows)] = rows
            output[start : start + height] = functional.linear(tile, self.weight)[: len(rows)]
        return output + self.bias if add_bias and self.bias is not None else output


def padded(values: Tensor, multiple: int) -> Tensor:
    """The values with zeros behind them, up to a multiple of so many: [n, ...] -> [n rounded up, ...], contiguous."""
    missing = -len(values) % multiple
    return torch.cat([values, values.new_zeros(missing, *values.shape[1:])]).contiguous()
