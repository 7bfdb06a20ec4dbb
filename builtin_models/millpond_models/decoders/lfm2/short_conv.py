"""LFM2's gated short convolution: a depthwise convolution over neighbouring tokens, between two gates."""

from functools import reduce

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear, PackedBatch, to_device
from millpond_modeling.shift import shifted
from millpond_models.layers.rotary import Rotation


class ShortConvolution(nn.Module):
    """``output(c * conv(b * x))``, where b, c and x are projections of the same input.

    The convolution is depthwise. It covers a token and the tokens before it or, if centred, tokens on both sides;
    beyond the ends of a sequence it reads zeros.

    Args:
        ctx: The model's context.
        size: Hidden size.
        kernel_size: Number of tokens covered.
        bias: True if the projections and the convolution have a bias.
        centred: True to cover tokens on both sides.
        mask_padding: True to replace tokens excluded by the attention mask with zeros.
    """

    def __init__(
        self, ctx: Context, *, size: int, kernel_size: int, bias: bool, centred: bool, mask_padding: bool
    ) -> None:
        super().__init__()
        self.inner = Linear(ctx, size, 3 * size, bias=bias)
        self.weight = nn.Parameter(torch.empty(size, 1, kernel_size), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(size), requires_grad=False) if bias else None
        self.output = Linear(ctx, size, size, bias=bias)
        self.first_offset = -(kernel_size // 2) if centred else 1 - kernel_size
        self.mask_padding = mask_padding

    def forward(self, hidden_states: Tensor, rotation: Rotation, batch: PackedBatch) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size]; ``rotation`` is not used."""
        del rotation
        if self.mask_padding and batch.num_masked:
            hidden_states = hidden_states.masked_fill(_masked_tokens(batch).unsqueeze(1), 0)
        input_gate, output_gate, value = self.inner(hidden_states).chunk(3, dim=-1)
        result: Tensor = self.output(output_gate * self._convolve(input_gate * value, batch))
        return result

    def _convolve(self, x: Tensor, batch: PackedBatch) -> Tensor:
        taps = enumerate(self.weight.squeeze(1).unbind(1), start=self.first_offset)
        total = reduce(torch.add, (shifted(x, batch, offset) * weight for offset, weight in taps))
        return total if self.bias is None else total + self.bias


def _masked_tokens(batch: PackedBatch) -> Tensor:
    """Return True for tokens excluded by the attention mask, [num_tokens]."""
    attended = [length - masked for length, masked in zip(batch.lengths, batch.num_masked, strict=True)]
    limits = torch.repeat_interleave(torch.tensor(attended), batch.lengths_on_host)
    return batch.positions >= to_device(limits, batch.positions.device)
