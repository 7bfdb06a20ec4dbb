"""BERT, RoBERTa and XLM-RoBERTa with a classifier behind them, for whole texts and for each token."""

from millpond_models.encoders.bert.model import BertModel
from millpond_models.encoders.roberta.model import RobertaModel
from millpond_models.heads.classifier import Classifier, TanhClassifier


class BertForSequenceClassification(TanhClassifier, BertModel):
    """BERT, then the pooler of its training, ``tanh(dense(x))``, then a linear classifier.

    ``classify`` pools the first token, and ``token_classify`` applies the same to each.
    """

    weight_names = (
        *BertModel.weight_names,
        (r"pooler\.dense\.(weight|bias)", r"classifier.dense.\1"),
        (r"classifier\.(weight|bias)", r"classifier.output.\1"),
    )
    ignored_weights = tuple(pattern for pattern in BertModel.ignored_weights if not pattern.startswith("pooler"))


class RobertaForSequenceClassification(TanhClassifier, RobertaModel):
    """RoBERTa, then ``out_proj(tanh(dense(x)))``; of the first token for ``classify``, else of each."""

    weight_names = (
        *RobertaModel.weight_names,
        (r"classifier\.dense\.(weight|bias)", r"classifier.dense.\1"),
        (r"classifier\.out_proj\.(weight|bias)", r"classifier.output.\1"),
    )


class BertForTokenClassification(Classifier, BertModel):
    """BERT with a linear classifier of each token."""


class RobertaForTokenClassification(Classifier, RobertaModel):
    """RoBERTa with a linear classifier of each token."""
