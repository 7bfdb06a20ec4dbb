"""Qwen2 with a reward head of two layers, for outcome and process rewards (arXiv 2409.12122, 2501.07301)."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from millpond.context import Context
from millpond_models.decoders.qwen.model import Qwen2Model
from millpond_models.heads.classifier import Classifier
from millpond_models.heads.dense import DenseHead


class Qwen2Reward(Classifier, Qwen2Model):
    """Qwen2, then ``score.2(relu(score.0(x)))`` for each token or step."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *Qwen2Model.weight_names,
        (r"score\.0\.(weight|bias)", r"classifier.dense.\1"),
        (r"score\.2\.(weight|bias)", r"classifier.output.\1"),
    )
    ignored_weights: ClassVar[Sequence[str]] = tuple(p for p in Qwen2Model.ignored_weights if "score" not in p)

    def build_classifier(self, ctx: Context) -> nn.Module:
        """Build two linear layers with a ReLU between them."""
        size, labels = ctx.config.hidden_size, ctx.model.classification.num_labels
        return DenseHead(ctx, size=size, num_labels=labels, activation=torch.relu)
