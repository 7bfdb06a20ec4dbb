"""GlinerSpanModel: DeBERTa reads labels and words; a head scores each span for each label.

Zaratiana et al. (2023), GLiNER: Generalist Model for Named Entity Recognition using Bidirectional Transformer,
arXiv 2311.08526, sections 2 and 3.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from torch import Tensor, nn

from millpond.context import ModelContext
from millpond.nn import Linear, PackedBatch, PoolingModel
from millpond_gliner.head import SpanScores

ENCODER = "DebertaV2Model"
ENCODER_PREFIX = "token_rep_layer.bert_layer.model."


class GlinerSpanModel(PoolingModel):
    """Computes the hidden states of labels and words; the pooler of the task computes the scores of spans."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        (r"token_rep_layer\.projection\.(\w+)", r"projection.\1"),
        (r"rnn\.lstm\.(\w+)", r"poolers.gliner.lstm.\1"),
        (r"span_rep_layer\.span_rep_layer\.(\w+)\.0\.(\w+)", r"poolers.gliner.\1.up.\2"),
        (r"span_rep_layer\.span_rep_layer\.(\w+)\.3\.(\w+)", r"poolers.gliner.\1.down.\2"),
        (r"prompt_rep_layer\.0\.(\w+)", r"poolers.gliner.project_label.up.\1"),
        (r"prompt_rep_layer\.3\.(\w+)", r"poolers.gliner.project_label.down.\1"),
    )

    def __init__(self, ctx: ModelContext) -> None:
        super().__init__(ctx)
        without_tasks = replace(ctx, model=replace(ctx.model, tasks=()))  # the encoder needs no poolers
        self.encoder: PoolingModel = ctx.registry.architectures.get(ENCODER).load()(without_tasks)
        size, inner_size = ctx.config.hidden_size, ctx.config.gliner.hidden_size
        self.projection = None if size == inner_size else Linear(ctx, size, inner_size)

    def build_pooler(self, ctx: ModelContext, task: str) -> nn.Module:  # noqa: ARG002  the only task
        """Return the head."""
        return SpanScores(ctx.for_head())

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch -> [num_tokens, hidden_size]."""
        hidden_states: Tensor = self.encoder(batch)
        return hidden_states if self.projection is None else self.projection(hidden_states)

    def parameter_name(self, name: str) -> str | None:
        """Return the name of the parameter; the encoder knows the names of its tensors."""
        if not re.match(re.escape(ENCODER_PREFIX), name):
            return super().parameter_name(name)
        target = self.encoder.parameter_name(name.removeprefix(ENCODER_PREFIX))
        return None if target is None else f"encoder.{target}"
