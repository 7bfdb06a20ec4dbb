"""BERT, RoBERTa and XLM-RoBERTa with a classifier behind them, for whole texts and for each token."""

import torch
from torch import nn

from millpond.context import Context
from millpond.nn import Linear
from millpond_models.bert import BertModel
from millpond_models.classifier import Classifier
from millpond_models.layers.heads import DenseHead
from millpond_models.roberta import RobertaModel


class BertForSequenceClassification(Classifier, BertModel):
    """BERT, then the pooler of its training, ``tanh(dense(x))``, then a linear classifier.

    ``classify`` pools the first token, and ``token_classify`` applies the same to each.
    """

    weight_names = (
        *BertModel.weight_names,
        (r"pooler\.dense\.(weight|bias)", r"classifier.dense.\1"),
        (r"classifier\.(weight|bias)", r"classifier.output.\1"),
    )
    ignored_weights = tuple(pattern for pattern in BertModel.ignored_weights if not pattern.startswith("pooler"))

    def build_classifier(self, ctx: Context) -> nn.Module:
        """The pooler of BERT's training and the classifier as one head."""
        return tanh_head(ctx)


class RobertaForSequenceClassification(Classifier, RobertaModel):
    """RoBERTa, then ``out_proj(tanh(dense(x)))``; of the first token for ``classify``, else of each."""

    weight_names = (
        *RobertaModel.weight_names,
        (r"classifier\.dense\.(weight|bias)", r"classifier.dense.\1"),
        (r"classifier\.out_proj\.(weight|bias)", r"classifier.output.\1"),
    )

    def build_classifier(self, ctx: Context) -> nn.Module:
        """The dense layer and the projection as one head."""
        return tanh_head(ctx)


class BertForTokenClassification(Classifier, BertModel):
    """BERT with a linear classifier of each token."""

    def build_classifier(self, ctx: Context) -> nn.Module:
        """One linear map."""
        return Linear(ctx, ctx.config.hidden_size, ctx.model.num_labels)


class RobertaForTokenClassification(Classifier, RobertaModel):
    """RoBERTa with a linear classifier of each token."""

    def build_classifier(self, ctx: Context) -> nn.Module:
        """One linear map."""
        return Linear(ctx, ctx.config.hidden_size, ctx.model.num_labels)


def tanh_head(ctx: Context) -> DenseHead:
    """``output(tanh(dense(x)))``, with which BERT and its relatives classify texts."""
    return DenseHead(ctx, size=ctx.config.hidden_size, num_labels=ctx.model.num_labels, activation=torch.tanh)
