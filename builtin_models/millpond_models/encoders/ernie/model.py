"""ErnieModel, alone and with classifiers: BERT with a vector of its task (Sun et al., 2020, arXiv 1907.12412)."""

from collections.abc import Iterable, Iterator

from torch import Tensor

from millpond.nn.weight_loading import LoadedWeights
from millpond.types.errors import CheckpointError
from millpond_models.encoders.bert.heads import BertForSequenceClassification, BertForTokenClassification
from millpond_models.encoders.bert.model import BertModel

SEGMENTS, TASKS = "embeddings.token_type_embeddings.weight", "embeddings.task_type_embeddings.weight"


class ErnieModel(BertModel):
    """BERT whose every token starts with the vector of the task it is trained for, the first of those there are.

    That is one vector for all tokens (``use_task_id``): when the model is loaded, it is added to those of the segments.
    """

    weight_prefixes = ("ernie.", "model.")

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> LoadedWeights:
        """Give the parameters their values; see ``PoolingModel``."""
        return super().load_weights(with_task(weights) if self.ctx.config.get("use_task_id", False) else weights)


class ErnieForSequenceClassification(ErnieModel, BertForSequenceClassification):
    """Ernie with BERT's classifier of texts."""


class ErnieForTokenClassification(ErnieModel, BertForTokenClassification):
    """Ernie with a classifier of each token."""


def with_task(weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """The weights with the first row of the table of tasks added to the table of segments.

    Raises:
        CheckpointError: If there is no table of tasks.
    """
    segments: tuple[str, Tensor] | None = None
    task: Tensor | None = None
    for name, tensor in weights:
        if name.endswith(TASKS):
            task = tensor[0].float() if tensor.dim() and len(tensor) else None
        elif name.endswith(SEGMENTS):
            segments = (name, tensor)
        else:
            yield name, tensor
    if task is None:
        message = f"config.json says use_task_id, and the checkpoint has no row of {TASKS}"
        raise CheckpointError(message)
    if segments is not None and segments[1].shape[1:] != task.shape:
        message = (
            f"the checkpoint's {TASKS} has rows of {list(task.shape)}, and {SEGMENTS} of {list(segments[1].shape[1:])}"
        )
        raise CheckpointError(message)
    if segments is not None:
        yield segments[0], segments[1].float() + task
