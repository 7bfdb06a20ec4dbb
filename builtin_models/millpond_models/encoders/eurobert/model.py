"""EuroBertModel and its classifiers: bidirectional Llama (Boizard et al., 2025, arXiv 2503.05500).

Published checkpoints use ``clf_pooling`` and name the output layer of a classifier ``out_proj``; transformers writes
``classifier_pooling`` and ``classifier``. Both are loaded.
"""

from collections.abc import Sequence
from typing import ClassVar

from torch import nn
from torch.nn import functional

from millpond.context import Context
from millpond_modeling.classifier import classifier_pooler
from millpond_models.decoders.llama.bidirectional import LlamaBidirectionalModel
from millpond_models.heads.classifier import Classifier
from millpond_models.heads.classifier_pooling import LATE_POOLING, stated_pooling
from millpond_models.heads.dense import DenseHead, PoolAfterDense
from millpond_models.layers.rms_norm import RMSNorm

DEFAULT_EPS = 1e-5


class EuroBertModel(LlamaBidirectionalModel):
    """Llama's layers with bidirectional attention."""

    def build_norm(self, ctx: Context, size: int) -> RMSNorm:
        """Build a norm with EuroBERT's default epsilon."""
        return RMSNorm(ctx, size, float(ctx.config.get("rms_norm_eps", DEFAULT_EPS)))


class EuroBertForSequenceClassification(Classifier, EuroBertModel):
    """EuroBERT, then ``classifier(gelu(dense(x)))``, after pooling or, with "late" pooling, before it."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *EuroBertModel.weight_names,
        (r"dense\.(weight|bias)", r"classifier.dense.\1"),
        (r"(?:classifier|out_proj)\.(weight|bias)", r"classifier.output.\1"),
    )

    def build_classifier(self, ctx: Context) -> nn.Module:
        """Build both layers as one head."""
        size = ctx.config.hidden_size
        return DenseHead(ctx, size=size, num_labels=ctx.model.classification.num_labels, activation=functional.gelu)

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """Build the pooler of a task; pooling is "late" by default."""
        pooler, head = super().build_pooler(ctx, task), self.classifier
        late = task == "classify" and stated_pooling(ctx.config) in (None, LATE_POOLING)
        if not late or not isinstance(head, DenseHead):
            return pooler
        return PoolAfterDense(head, classifier_pooler(ctx, task, head.output))


class EuroBertForTokenClassification(Classifier, EuroBertModel):
    """EuroBERT with a linear classifier of each token."""
