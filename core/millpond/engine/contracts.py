"""Checks of the results of models and poolers. Errors name the component and state the expected shape."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from millpond.context import ModelContext
from millpond.nn.model import PoolingModel
from millpond.plugin.blame import breach, described, is_foreign, owner_of
from millpond.types.errors import ComponentError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from millpond.engine.request import Representation
    from millpond.nn.batch import PackedBatch
    from millpond.plugin.registry import Entry
    from millpond.plugin.specs import TaskSpec

VECTOR_NDIM, MATRIX_NDIM = 1, 2  # dimensions of results per prompt and per token
CHECKED_TASKS = ("embed", "classify", "token_embed", "token_classify")


@dataclass(frozen=True)
class Contract:
    """The required shape of the results of a task that a third-party plugin computes.

    Attributes:
        owner: The pooler or architecture to name in error messages.
        per_token: True if a result has one row for each token.
        width: The number of values of a result; None if unknown.
        is_flat: True if a per-token result may be one value for each token.
    """

    owner: "Entry[Any]"
    per_token: bool
    width: int | None
    is_flat: bool = False

    def batch_error(self, pooled: Tensor | list[Tensor]) -> str | None:
        """Return the error message for all results of a batch; None if they are valid."""
        if not isinstance(pooled, Tensor) or pooled.dim() == MATRIX_NDIM:
            return None
        expected = f"a list of {len(pooled)} tensors [num_tokens, dim]" if self.per_token else f"[{len(pooled)}, dim]"
        return f"it returned {described(pooled)} for {len(pooled)} sequences; expected {expected}"

    def result_error(
        self, array: "NDArray[np.float32]", representation: "Representation", num_tokens: int
    ) -> str | None:
        """Return the error message for one result; None if it is valid."""
        if (representation.params.extra_kwargs or {}).get("as_terms"):  # the ids and weights of a sparse vector
            return None
        if self.per_token:
            span = representation.span
            return self._per_token_error(array, num_tokens if span is None else span[1] - span[0])
        width = representation.params.dimensions or self.width
        if array.ndim == VECTOR_NDIM and width in (None, len(array)):
            return None
        expected = "[dim]" if width is None else f"[{width}]"
        return (
            f"for the task {representation.task!r} its result is {described(array)}; expected {expected}"
            f"{'' if width is None else f', the size that the model declares for {representation.task!r}'}"
        )

    def _per_token_error(self, array: "NDArray[np.float32]", num_tokens: int) -> str | None:
        if array.ndim == MATRIX_NDIM and len(array) <= num_tokens:
            return None
        if self.is_flat and array.ndim == VECTOR_NDIM and len(array) <= num_tokens:
            return None
        return f"its result for {num_tokens} tokens is {described(array)}; expected [{num_tokens}, dim], or fewer rows"


def contracts_of(model: object) -> Mapping[str, Contract]:
    """Return the contracts of the tasks that a third-party pooler or model computes."""
    ctx = getattr(model, "ctx", None)
    if not isinstance(model, PoolingModel) or not isinstance(ctx, ModelContext):
        return {}
    sizes = {"embed": ctx.model.embedding_size, "classify": ctx.model.classification.num_labels or None}
    contracts: dict[str, Contract] = {}
    for task, pooler in model.poolers.items():
        owner = foreign_owner(model, pooler)
        if owner is None or task not in CHECKED_TASKS or task not in ctx.registry.tasks:
            continue
        spec: TaskSpec = ctx.registry.tasks.get(task).spec
        contracts[task] = Contract(owner, spec.per_token, sizes.get(task), is_flat=task == "token_classify")
    return contracts


def check_hidden(owner: "Entry[Any] | None", hidden: object, batch: "PackedBatch") -> None:
    """Check the result of a model's ``forward``.

    Raises:
        ComponentError: If it is not a tensor of numbers with one row for each token; the error names the architecture.
    """
    if not isinstance(hidden, Tensor) or hidden.dim() != MATRIX_NDIM or hidden.size(0) != batch.num_tokens:
        expected = f"a tensor [{batch.num_tokens}, hidden], one row for each token"
        raise breach(owner, f"forward returned {described(hidden)}; expected {expected}")
    if not hidden.is_floating_point() or hidden.device != batch.input_ids.device:
        raise not_numbers(owner, hidden, batch.input_ids.device)


def check_list(owner: "Entry[Any] | None", task: str, pooled: Any, num_seqs: int) -> None:
    """Check the result of a pooler that is not a tensor with one row for each sequence.

    Raises:
        ComponentError: If it is not a list with one tensor for each sequence; the error names the pooler.
    """
    is_list = isinstance(pooled, list | tuple) and len(pooled) == num_seqs
    if is_list and all(isinstance(tensor, Tensor) for tensor in pooled):
        return
    message = (
        f"for the task {task!r} it returned {described(pooled)}; expected one result for each of {num_seqs} sequences: "
        f"a tensor [{num_seqs}, dim], or a list of {num_seqs} tensors"
    )
    raise breach(owner, message)


def foreign_owner(model: object, pooler: object) -> "Entry[Any] | None":
    """Return the record of a third-party pooler, or else of a third-party model; None if both are built in."""
    return next((entry for entry in (owner_of(pooler), owner_of(model)) if is_foreign(entry)), None)


def not_numbers(owner: "Entry[Any] | None", tensor: Tensor, device: "torch.device") -> ComponentError:
    """Return the error for a tensor that does not contain floating-point numbers on the device of the model."""
    message = f"it returned {described(tensor)} of {tensor.dtype} on {tensor.device}"
    return breach(owner, f"{message}; expected floating-point numbers on {device}")


def copy_results(owner: "Entry[Any]", pooled: Tensor | list[Tensor], device: "torch.device") -> Tensor | list[Tensor]:
    """Return copies of the results of a third-party pooler or model, which may use their memory for the next batch.

    Raises:
        ComponentError: If a result does not contain floating-point numbers on the device; names the component.
    """
    for tensor in [pooled] if isinstance(pooled, Tensor) else pooled:
        if not tensor.is_floating_point() or tensor.device != device:
            raise not_numbers(owner, tensor, device)
    return pooled.clone() if isinstance(pooled, Tensor) else [tensor.clone() for tensor in pooled]


def source_of_non_finite(model: object, pooler: object, hidden: Tensor, lengths: Sequence[int], index: int) -> str:
    """Return the end of an error message: the third-party component that computed NaN or infinity; else empty.

    Args:
        model: The model.
        pooler: The pooler of the task.
        hidden: The hidden states of the batch, [num_tokens, hidden].
        lengths: The number of tokens of each sequence.
        index: The index of the sequence in the batch.
    """
    start = sum(lengths[:index])
    is_finite = bool(hidden[start : start + lengths[index]].isfinite().all())
    owner = owner_of_pooler(model, pooler) if is_finite else owner_of(model)
    return f"; they come from {owner.label}" if owner is not None and is_foreign(owner) else ""


def owner_of_pooler(model: object, pooler: object) -> "Entry[Any] | None":
    """Return the record to name in errors of a pooler: that of the pooler, or of the model that created it."""
    return owner_of(pooler) or owner_of(model)
