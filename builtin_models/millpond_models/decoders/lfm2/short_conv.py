"""The gated short convolution of LFM2: each dimension mixes a few neighbouring tokens, between two gates."""

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear, PackedBatch
from millpond.nn.shift import shifted
from millpond_models.layers.rotary import Rotation


class ShortConvolution(nn.Module):
    """``output(c * convolution(b * x))``, where b, c and x are three maps of the same input.

    The convolution is one of each dimension alone. It reads the tokens before a token and itself, or, where it is
    centred, tokens on both sides; outside of a sequence there are zeros.

    Args:
        ctx: The model's context.
        size: The dimensions of hidden states.
        width: The tokens that it reads.
        bias: Whether the maps and the convolution have a bias.
        centred: Whether it reads both sides.
        zeroes_masked: True if masked tokens count as zeros.
    """

    def __init__(self, ctx: Context, *, size: int, width: int, bias: bool, centred: bool, zeroes_masked: bool) -> None:
        super().__init__()
        self.inner = Linear(ctx, size, 3 * size, bias=bias)
        self.weight = nn.Parameter(torch.empty(size, 1, width), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(size), requires_grad=False) if bias else None
        self.output = Linear(ctx, size, size, bias=bias)
        self.first = -(width // 2) if centred else 1 - width
        self.zeroes_masked = zeroes_masked

    def forward(self, x: Tensor, rotation: Rotation, batch: PackedBatch) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size]; it has no use for positions."""
        del rotation
        if self.zeroes_masked and batch.num_masked:
            x = x.masked_fill(_masked(batch).unsqueeze(1), 0)
        before, after, value = self.inner(x).chunk(3, dim=-1)
        mixed = self._convolved(before * value, batch)
        result: Tensor = self.output(after * mixed)
        return result

    def _convolved(self, x: Tensor, batch: PackedBatch) -> Tensor:
        found: Tensor | None = None
        for place, weight in enumerate(self.weight.squeeze(1).unbind(1)):
            own = shifted(x, batch, self.first + place) * weight
            found = own if found is None else found + own
        found = x if found is None else found
        return found if self.bias is None else found + self.bias


def _masked(batch: PackedBatch) -> Tensor:
    """Return a mask that is True for masked tokens, [num_tokens]."""
    attended = [length - masked for length, masked in zip(batch.lengths, batch.num_masked, strict=True)]
    limits = torch.repeat_interleave(torch.tensor(attended), batch.lengths_on_host).to(batch.positions.device)
    return batch.positions >= limits
