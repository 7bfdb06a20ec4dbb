"""XLM-RoBERTa with a text or token classifier."""

from typing import ClassVar

from millpond_models.encoders.jina_v3.model import JinaXLMRobertaModel
from millpond_models.heads.classifier import Classifier, TanhClassifier


class JinaXLMRobertaForSequenceClassification(TanhClassifier, JinaXLMRobertaModel):
    """XLM-RoBERTa, then ``out_proj(tanh(dense(x)))``, on the first token (``classify``) or every token."""

    weight_names: ClassVar = (
        *JinaXLMRobertaModel.weight_names,
        (r"classifier\.dense\.(weight|bias)", r"classifier.dense.\1"),
        (r"classifier\.out_proj\.(weight|bias)", r"classifier.output.\1"),
    )


class JinaXLMRobertaForTokenClassification(Classifier, JinaXLMRobertaModel):
    """XLM-RoBERTa with a linear classifier of each token."""
