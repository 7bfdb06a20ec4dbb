"""Contracts: what models and poolers must return; who broke one is named, and what was expected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from millpond.context import ModelContext
from millpond.nn.model import PoolingModel
from millpond.nn.sparse import AS_TERMS
from millpond.plugin.blame import breach, described, is_foreign, owner_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from millpond.engine.request import Representation
    from millpond.plugin.registry import Entry
    from millpond.plugin.specs import TaskSpec

VECTOR, MATRIX = 1, 2  # dimensions of the result of a prompt, and of one with a row for each token
CHECKED_TASKS = ("embed", "classify", "token_embed", "token_classify")


@dataclass(frozen=True)
class Contract:
    """The form of the results of one task, where a plugin that is not built in computes them.

    Attributes:
        owner: The pooler or the architecture that is blamed.
        per_token: Whether a result has one row for each token.
        width: The number of values of a result; None if it is not known.
        is_flat: Whether a result of tokens may be one value for each token.
    """

    owner: "Entry[Any]"
    per_token: bool
    width: int | None
    is_flat: bool = False

    def fault_of_batch(self, pooled: Tensor | list[Tensor]) -> str | None:
        """The fault of all results of a batch at once; None if there is none."""
        if not isinstance(pooled, Tensor) or pooled.dim() == MATRIX:
            return None
        expected = f"a list of {len(pooled)} tensors [num_tokens, dim]" if self.per_token else f"[{len(pooled)}, dim]"
        return f"it returned {described(pooled)} for {len(pooled)} sequences; expected {expected}"

    def fault(self, array: "NDArray[np.float32]", wanted: "Representation", num_tokens: int) -> str | None:
        """The fault of one result; None if there is none."""
        if (wanted.params.extra_kwargs or {}).get(AS_TERMS):
            return None
        if self.per_token:
            return self._fault_of_tokens(array, num_tokens if wanted.span is None else wanted.span[1] - wanted.span[0])
        width = wanted.params.dimensions or self.width
        if array.ndim == VECTOR and width in (None, len(array)):
            return None
        expected = "[dim]" if width is None else f"[{width}]"
        return (
            f"for the task {wanted.task!r} its result is {described(array)}; expected {expected}"
            f"{'' if width is None else f', the size that the model declares for {wanted.task!r}'}"
        )

    def _fault_of_tokens(self, array: "NDArray[np.float32]", num_tokens: int) -> str | None:
        if array.ndim == MATRIX and len(array) <= num_tokens:
            return None
        if self.is_flat and array.ndim == VECTOR and len(array) <= num_tokens:
            return None
        return f"its result for {num_tokens} tokens is {described(array)}; expected [{num_tokens}, dim], or fewer rows"


def contracts_of(model: object) -> Mapping[str, Contract]:
    """The contracts of the tasks whose results a plugin that is not built in has a part in."""
    ctx = getattr(model, "ctx", None)
    if not isinstance(model, PoolingModel) or not isinstance(ctx, ModelContext):
        return {}
    sizes = {"embed": ctx.model.embedding_size, "classify": ctx.model.classification.num_labels or None}
    found: dict[str, Contract] = {}
    for task, pooler in model.poolers.items():
        owner = next((it for it in (owner_of(pooler), owner_of(model)) if is_foreign(it)), None)
        if owner is None or task not in CHECKED_TASKS or task not in ctx.registry.tasks:
            continue
        spec: TaskSpec = ctx.registry.tasks.get(task).spec
        found[task] = Contract(owner, spec.per_token, sizes.get(task), is_flat=task == "token_classify")
    return found


def check_hidden(model: object, hidden: object, num_tokens: int) -> None:
    """Refuse hidden states that are not one row for each token.

    Raises:
        ComponentError: They are something else; names the architecture.
    """
    if isinstance(hidden, Tensor) and hidden.dim() == MATRIX and len(hidden) == num_tokens:
        return
    message = f"forward returned {described(hidden)}; expected a tensor [{num_tokens}, hidden], one row for each token"
    raise breach(owner_of(model), message)


def check_pooled(owner: "Entry[Any] | None", task: str, pooled: Any, num_seqs: int) -> None:
    """Refuse what a pooler returns if it is not one result for each sequence.

    Raises:
        ComponentError: It is something else; names the pooler.
    """
    if isinstance(pooled, Tensor):
        is_right = pooled.dim() > 0 and len(pooled) == num_seqs
    else:
        is_list = isinstance(pooled, list | tuple)
        is_right = is_list and len(pooled) == num_seqs and all(isinstance(one, Tensor) for one in pooled)
    if is_right:
        return
    message = (
        f"for the task {task!r} it returned {described(pooled)}; expected one result for each of {num_seqs} sequences: "
        f"a tensor [{num_seqs}, dim], or a list of {num_seqs} tensors"
    )
    raise breach(owner, message)


def source_of_non_finite(model: object, pooler: object, hidden: Tensor, lengths: Sequence[int], place: int) -> str:
    """The component of a plugin that made the result of a sequence NaN or infinite, for messages; else empty.

    Args:
        model: The model.
        pooler: The pooler of the task.
        hidden: The hidden states of the batch, [num_tokens, hidden].
        lengths: The number of tokens of each sequence.
        place: The place of the sequence in the batch.
    """
    start = sum(lengths[:place])
    is_finite = bool(hidden[start : start + lengths[place]].isfinite().all())
    owner = owner_of_pooler(model, pooler) if is_finite else owner_of(model)
    return f"; they come from {owner.label}" if owner is not None and is_foreign(owner) else ""


def owner_of_pooler(model: object, pooler: object) -> "Entry[Any] | None":
    """The record that is blamed for a pooler: its own, or that of the model that built it."""
    return owner_of(pooler) or owner_of(model)
