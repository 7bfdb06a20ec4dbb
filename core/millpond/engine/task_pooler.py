"""TaskPooler: the pooler of a task, with the checks of its results. Errors name the component, and state what fits."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from millpond.context import ModelContext
from millpond.nn.batch import PackedBatch, PoolingMetadata
from millpond.nn.model import PoolingModel
from millpond.nn.pooler import Pooler
from millpond.plugin.blame import blamed, breach, described, is_foreign, owner_of
from millpond.types.errors import ComponentError, InvalidInputError
from millpond.types.params import PoolingParams

if TYPE_CHECKING:
    from millpond.engine.request import Representation
    from millpond.plugin.registry import Entry

Array = NDArray[np.float32]
HOST = torch.device("cpu")
VECTOR_NDIM, MATRIX_NDIM = 1, 2  # dimensions of results per prompt and per token
CHECKED_TASKS = ("embed", "classify", "token_embed", "token_classify")  # those whose results have a known shape


class TaskPooler:
    """The pooler of a task.

    Attributes:
        task: The task.
        check: The pooler's check of parameters; None if it has none.
    """

    def __init__(self, model: PoolingModel, task: str) -> None:
        pooler, ctx = model.poolers[task], model.ctx
        has_check = isinstance(pooler, Pooler) and type(pooler).check is not Pooler.check
        self.task, self._pooler, self._model_owner = task, pooler, owner_of(model)
        self.check = pooler.check if isinstance(pooler, Pooler) and has_check else None
        self._owner = owner_of(pooler) or self._model_owner
        # Results of the wrong shape are hardly caused by the one of both that is built in.
        owners = (self._owner, self._model_owner)
        self._culprit = next((owner for owner in owners if is_foreign(owner)), self._owner)
        self._is_checked = isinstance(ctx, ModelContext) and task in CHECKED_TASKS and task in ctx.registry.tasks
        self._per_token, self._width = False, None
        if self._is_checked:
            sizes = {"embed": ctx.model.embedding_size, "classify": ctx.model.classification.num_labels or None}
            self._per_token, self._width = ctx.registry.tasks.get(task).spec.per_token, sizes.get(task)

    def refusal(self, params: PoolingParams) -> InvalidInputError | None:
        """Return the error of parameters that the pooler does not accept; None if it does."""
        if self.check is not None:
            try:
                with blamed(self._owner):
                    self.check(params)
            except InvalidInputError as error:
                return error
        return None

    def __call__(self, hidden: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        """[num_tokens, hidden] -> [num_seqs, dim], or a list of num_seqs tensors.

        Raises:
            ComponentError: If the pooler fails, or does not return one tensor of numbers for each sequence; names it.
        """
        try:
            pooled: Tensor | list[Tensor] = self._pooler(hidden, metadata)
        except BaseException:
            with blamed(self._owner):  # only entered for errors: three calls fewer for each batch
                raise
        count = len(metadata.lengths)
        parts = [pooled] if isinstance(pooled, Tensor) and pooled.dim() else pooled
        if not isinstance(parts, list | tuple) or not _are_tensors(parts) or len(pooled) != count:
            message = (
                f"for the task {self.task!r} it returned {described(pooled)}; expected one result for each of {count} "
                f"sequences: a tensor [{count}, dim], or a list of {count} tensors"
            )
            raise breach(self._owner, message)
        for part in parts:
            if not part.is_floating_point() or part.device not in (hidden.device, HOST):
                raise _not_numbers(self._culprit, part, hidden.device)
        return pooled

    def fits(self, pooled: Tensor | list[Tensor]) -> bool:
        """True if all results of a batch have the required shape; False if each of them has to be checked."""
        if self._per_token or not isinstance(pooled, Tensor):
            return not self._is_checked
        return not self._is_checked or (pooled.dim() == MATRIX_NDIM and self._width in (None, pooled.shape[1]))

    def shape_error(
        self, pooled: Tensor | list[Tensor], array: Array, representation: "Representation", num_tokens: int
    ) -> ComponentError | None:
        """Return the error of a result, or of all results of its batch; None if it has the required shape.

        Args:
            pooled: All results of the batch.
            array: The result.
            representation: The representation that was requested.
            num_tokens: The number of tokens of the prompt.
        """
        if isinstance(pooled, Tensor) and pooled.dim() != MATRIX_NDIM:
            count = len(pooled)
            expected = f"a list of {count} tensors [num_tokens, dim]" if self._per_token else f"[{count}, dim]"
            message = f"it returned {described(pooled)} for {count} sequences; expected {expected}"
            return breach(self._culprit, message)
        if self._per_token:
            first, stop = representation.span or (0, num_tokens)
            ndim = (VECTOR_NDIM, MATRIX_NDIM) if self.task == "token_classify" else (MATRIX_NDIM,)
            if array.ndim in ndim and len(array) <= stop - first:
                return None
            expected = f"expected [{stop - first}, dim], or fewer rows"
            message = f"its result for {stop - first} tokens is {described(array)}; {expected}"
        else:
            width = representation.params.dimensions or self._width
            if array.ndim == VECTOR_NDIM and width in (None, len(array)):
                return None
            message = f"for the task {self.task!r} its result is {described(array)}; expected "
            declared = f"[{width}], the size that the model declares for {self.task!r}"
            message += "[dim]" if width is None else declared
        if (representation.params.extra_kwargs or {}).get("as_terms"):  # the ids and weights of a sparse vector
            return None
        return breach(self._culprit, message)

    def source_of_non_finite(self, hidden: Tensor, lengths: Sequence[int], index: int) -> str:
        """Return the end of an error message: the third-party component that computed NaN or infinity; else empty.

        Args:
            hidden: The hidden states of the batch, [num_tokens, hidden].
            lengths: The number of tokens of each sequence.
            index: The index of the sequence in the batch.
        """
        start = sum(lengths[:index])
        is_finite = bool(hidden[start : start + lengths[index]].isfinite().all())
        owner = self._owner if is_finite else self._model_owner
        return f"; they come from {owner.label}" if owner is not None and is_foreign(owner) else ""


def check_hidden(owner: "Entry[Any] | None", hidden: object, batch: PackedBatch) -> None:
    """Check the result of a model's ``forward``.

    Raises:
        ComponentError: If it is not a tensor of numbers with one row for each token; the error names the architecture.
    """
    if not isinstance(hidden, Tensor) or hidden.dim() != MATRIX_NDIM or hidden.size(0) != batch.num_tokens:
        expected = f"a tensor [{batch.num_tokens}, hidden], one row for each token"
        raise breach(owner, f"forward returned {described(hidden)}; expected {expected}")
    if not hidden.is_floating_point() or hidden.device != batch.input_ids.device:
        raise _not_numbers(owner, hidden, batch.input_ids.device)


def _not_numbers(owner: "Entry[Any] | None", tensor: Tensor, device: torch.device) -> ComponentError:
    """Return the error for a tensor that does not contain floating-point numbers on the device."""
    message = f"it returned {described(tensor)} of {tensor.dtype} on {tensor.device}"
    return breach(owner, f"{message}; expected floating-point numbers on {device}")


def _are_tensors(parts: "list[Any] | tuple[Any, ...]") -> bool:
    """Return True if all parts are tensors; a loop is faster than a generator."""
    for part in parts:  # noqa: SIM110
        if not isinstance(part, Tensor):
            return False
    return True


def to_host(pooled: Tensor | list[Tensor]) -> tuple[list[Array], bool]:
    """Return one array per sequence, and True if all values are finite; poolers may use their memory again.

    There is a single copy to the host if all results have the same width.
    """
    if isinstance(pooled, Tensor):
        rows = pooled.to(HOST, torch.float32).numpy().copy()
        return list(rows), are_finite(rows)
    shapes = {tensor.shape[1:] if tensor.dim() else None for tensor in pooled}
    if len(shapes) == 1 and None not in shapes:
        rows = torch.cat(pooled).to(HOST, torch.float32).numpy()
        arrays = np.split(rows, np.cumsum([len(tensor) for tensor in pooled])[:-1])
        return arrays, are_finite(rows)
    arrays = [tensor.to(HOST, torch.float32).numpy().copy() for tensor in pooled]
    return arrays, all(map(are_finite, arrays))


def are_finite(array: Array) -> bool:
    """True if no value is NaN or infinite. Searching bytes takes half the time of numpy's ``all`` for a short array."""
    return 0 not in np.isfinite(array).tobytes()
