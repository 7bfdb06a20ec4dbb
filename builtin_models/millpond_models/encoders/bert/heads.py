"""BERT with a text or token classifier."""

from millpond_models.encoders.bert.model import BertModel
from millpond_models.heads.classifier import Classifier, TanhClassifier


class BertForSequenceClassification(TanhClassifier, BertModel):
    """BERT with its pretraining pooler, ``tanh(dense(x))``, and a linear classifier.

    ``classify`` pools the first token; ``token_classify`` applies the same layers to every token.
    """

    weight_names = (
        *BertModel.weight_names,
        (r"pooler\.dense\.(weight|bias)", r"classifier.dense.\1"),
        (r"classifier\.(weight|bias)", r"classifier.output.\1"),
    )
    ignored_weights = tuple(pattern for pattern in BertModel.ignored_weights if not pattern.startswith("pooler"))


class BertForTokenClassification(Classifier, BertModel):
    """BERT with a linear classifier of each token."""
