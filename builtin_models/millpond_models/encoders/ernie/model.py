"""ErnieModel and its classifiers: BERT with task type embeddings (Sun et al., 2020, arXiv 1907.12412)."""

from collections.abc import Iterable, Iterator

from torch import Tensor

from millpond.nn import LoadedWeights
from millpond.types.errors import CheckpointError
from millpond_models.encoders.bert.heads import BertForSequenceClassification, BertForTokenClassification
from millpond_models.encoders.bert.model import BertModel

TOKEN_TYPES, TASK_TYPES = "embeddings.token_type_embeddings.weight", "embeddings.task_type_embeddings.weight"


class ErnieModel(BertModel):
    """BERT with the embedding of task type 0 added to every token (``use_task_id``).

    When the model is loaded, this constant vector is added to the token type embeddings.
    """

    weight_prefixes = ("ernie.", "model.")

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> LoadedWeights:
        """Load the parameters; see ``PoolingModel``."""
        return super().load_weights(add_task_type(weights) if self.ctx.config.get("use_task_id", False) else weights)


class ErnieForSequenceClassification(ErnieModel, BertForSequenceClassification):
    """ERNIE with BERT's text classifier."""


class ErnieForTokenClassification(ErnieModel, BertForTokenClassification):
    """ERNIE with BERT's token classifier."""


def add_task_type(weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights, with the embedding of task type 0 added to the token type embeddings.

    Raises:
        CheckpointError: If the checkpoint has no task type embeddings.
    """
    token_types: tuple[str, Tensor] | None = None
    task: Tensor | None = None
    for name, tensor in weights:
        if name.endswith(TASK_TYPES):
            task = tensor[0].float() if tensor.dim() and len(tensor) else None
        elif name.endswith(TOKEN_TYPES):
            token_types = (name, tensor)
        else:
            yield name, tensor
    if task is None:
        message = f"config.json sets use_task_id, but the checkpoint has no rows of {TASK_TYPES}"
        raise CheckpointError(message)
    if token_types is not None:
        name, tensor = token_types
        if tensor.shape[1:] != task.shape:
            message = (
                f"the checkpoint's {TASK_TYPES} has rows of {list(task.shape)}, and {TOKEN_TYPES} of "
                f"{list(tensor.shape[1:])}"
            )
            raise CheckpointError(message)
        yield name, tensor.float() + task
