"""RoBERTa with a text or token classifier."""

from typing import ClassVar

from millpond_models.encoders.roberta.model import RobertaModel
from millpond_models.heads.classifier import Classifier, TanhClassifier


class RobertaForSequenceClassification(TanhClassifier, RobertaModel):
    """RoBERTa, then ``out_proj(tanh(dense(x)))``, on the first token (``classify``) or every token."""

    weight_names: ClassVar = (
        *RobertaModel.weight_names,
        (r"classifier\.dense\.(weight|bias)", r"classifier.dense.\1"),
        (r"classifier\.out_proj\.(weight|bias)", r"classifier.output.\1"),
    )


class RobertaForTokenClassification(Classifier, RobertaModel):
    """RoBERTa with a linear classifier of each token."""
