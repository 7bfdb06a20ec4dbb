"""The head: an LSTM over words, vectors of spans from their first and last words, and scores for labels."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from millpond.context import ModelContext
from millpond.nn import Linear, PoolingMetadata
from millpond.types.params import PoolingParams

LABELS, WORDS = "label_tokens", "word_tokens"  # keys of extra_kwargs: the indices of tokens in their sequence
NO_TOKEN = -1  # a word whose characters the tokenizer drops; its vector is 0
EXPANSION = 4  # of the inner size of a projection


class Projection(nn.Module):
    """Two linear layers with a ReLU, ``down(relu(up(x)))``."""

    def __init__(self, ctx: ModelContext, size: int, output_size: int) -> None:
        super().__init__()
        self.up = Linear(ctx, size, EXPANSION * output_size)
        self.down = Linear(ctx, EXPANSION * output_size, output_size)

    def forward(self, x: Tensor) -> Tensor:
        """[num_rows, size] -> [num_rows, output_size]."""
        output: Tensor = self.down(relu(self.up(x)))
        return output


class BidirectionalLstm(nn.Module):
    """An LSTM in both directions; its parameters have the names and shapes of ``torch.nn.LSTM``."""

    dtype = torch.float32

    def __init__(self, size: int, num_layers: int) -> None:
        super().__init__()
        self.num_layers, self.half_size = num_layers, size // 2
        self.names: list[str] = []
        for layer in range(num_layers):
            for suffix in (f"l{layer}", f"l{layer}_reverse"):
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (4 * self.half_size, size),
                    "weight_hh": (4 * self.half_size, self.half_size),
                }
                for name, shape in {
                    **shapes,
                    "bias_ih": (4 * self.half_size,),
                    "bias_hh": (4 * self.half_size,),
                }.items():
                    self.register_parameter(f"{name}_{suffix}", nn.Parameter(torch.empty(shape)))
                    self.names.append(f"{name}_{suffix}")

    def forward(self, x: Tensor) -> Tensor:
        """[num_words, size] -> [num_words, size]."""
        state = x.new_zeros(2 * self.num_layers, 1, self.half_size)
        parameters: list[Tensor] = [self.get_parameter(name) for name in self.names]
        output, _, _ = torch.lstm(
            x[:, None], (state, state), parameters, True, self.num_layers, 0.0, False, True, False
        )
        return output[:, 0]


class SpanScores(nn.Module):
    """Computes the logits of all spans of up to ``max_width`` words for all labels of a sequence."""

    def __init__(self, ctx: ModelContext) -> None:
        super().__init__()
        settings = ctx.config.gliner
        size = settings.hidden_size
        num_layers = settings.get("num_rnn_layers", 1)
        self.max_width = settings.max_width
        self.lstm = BidirectionalLstm(size, num_layers) if num_layers > 0 else None
        self.project_start, self.project_end = Projection(ctx, size, size), Projection(ctx, size, size)
        self.out_project = Projection(ctx, 2 * size, size)
        self.project_label = Projection(ctx, size, size)

    def check(self, params: PoolingParams) -> None:
        """Accept all parameters: the IO processor of the task sets them."""

    def forward(self, hidden_states: Tensor, metadata: PoolingMetadata) -> list[Tensor]:
        """[num_tokens, hidden] -> for each sequence [num_spans, num_labels]; see ``spans_of`` for their order."""
        sequences = hidden_states.float().split(metadata.lengths)
        return [self._scores(rows, params) for rows, params in zip(sequences, metadata.params, strict=True)]

    def _scores(self, rows: Tensor, params: PoolingParams) -> Tensor:
        positions: Any = params.extra_kwargs or {}
        labels = rows[torch.tensor(positions[LABELS], device=rows.device)]
        indices = torch.tensor(positions[WORDS], device=rows.device)
        words = torch.where((indices == NO_TOKEN)[:, None], 0, rows[indices.clamp_min(0)])
        if self.lstm is not None:
            words = self.lstm(words)
        spans = torch.tensor(spans_of(len(words), self.max_width), device=rows.device)
        first, last = self.project_start(words)[spans[:, 0]], self.project_end(words)[spans[:, 1]]
        vectors = self.out_project(relu(torch.cat([first, last], dim=-1)))
        output: Tensor = vectors @ self.project_label(labels).T
        return output


def spans_of(num_words: int, max_width: int) -> list[tuple[int, int]]:
    """Return the first and the last word of each span, by first word, then by width."""
    return [(first, last) for first in range(num_words) for last in range(first, min(first + max_width, num_words))]
