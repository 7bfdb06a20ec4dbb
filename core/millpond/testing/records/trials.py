"""Runs a pooler without a model on random hidden states, and checks the form of its results."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from millpond.nn import PoolingMetadata
from millpond.plugin.blame import described
from millpond.plugin.registry import Entry, Registry
from millpond.plugin.specs import PoolerSpec
from millpond.testing.contexts import bare_context
from millpond.testing.records.common import Fault
from millpond.types.config import CheckpointConfig
from millpond.types.errors import ComponentError, MillpondError
from millpond.types.params import PoolingParams

HIDDEN_SIZE = 24
MATRIX_NDIM = 2  # dimensions of a result with a row for each token
LENGTHS = ((1,), (1, 1), (3, 1, 5))
CONFIG = {"hidden_size": HIDDEN_SIZE, "vocab_size": HIDDEN_SIZE, "num_labels": HIDDEN_SIZE}
TOLERANCE = 1e-4  # the allowed difference of two results of one sequence, in float32


def try_pooler(registry: Registry, entry: Entry[PoolerSpec]) -> list[Fault]:
    """Return the first fault of each task; a note if the pooler cannot be built without a model."""
    tasks = [task for task in entry.spec.tasks if task in registry.tasks]
    faults = [fault for task in tasks for fault in _first(_faults(registry, entry, task))]
    return list(dict.fromkeys(faults))


def _first(faults: Iterator[Fault]) -> list[Fault]:
    return list(islice(faults, 1))


def _faults(registry: Registry, entry: Entry[PoolerSpec], task: str) -> Iterator[Fault]:
    per_token = registry.tasks.get(task).spec.per_token
    config: Mapping[str, Any] = {**CONFIG, **({entry.spec.size_key: HIDDEN_SIZE} if entry.spec.size_key else {})}
    key = f"{'tok' if per_token else 'seq'}_pooling_type"
    ctx = bare_context(registry, tasks=(task,), config=config, pooler_config={key: entry.qualified})
    try:
        pooler = ctx.pooler(task).eval()
    except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin may raise anything
        cause = error.__cause__ if isinstance(error, ComponentError) and error.__cause__ else error
        reason = f"target(ctx) raised {type(cause).__name__} for the task {task!r}: {cause}"
        yield Fault(reason, "build it from ctx only", is_note=_needs_model(cause))
        return
    for lengths in LENGTHS:
        yield from _faults_of(pooler, lengths, per_token=per_token, task=task)
    yield from _mixing_faults(pooler, LENGTHS[-1], task=task)


def _needs_model(error: BaseException) -> bool:
    """True if a pooler may have failed because config.json, a head or a tokenizer is missing."""
    if isinstance(error, AttributeError):
        return isinstance(error.obj, CheckpointConfig) or error.obj is None
    return isinstance(error, MillpondError | KeyError)


def _faults_of(pooler: Any, lengths: tuple[int, ...], *, per_token: bool, task: str) -> Iterator[Fault]:
    rows = _rows(sum(lengths))
    ids = torch.arange(sum(lengths)) % HIDDEN_SIZE
    hidden_states, params = rows.clone(), tuple(PoolingParams() for _ in lengths)
    what = f"for the task {task!r} and sequences of {', '.join(map(str, lengths))} tokens"
    expected = "num_tokens rows, or fewer" if per_token else f"[{HIDDEN_SIZE}]"
    try:
        with torch.inference_mode():
            pooled = pooler(hidden_states, PoolingMetadata(lengths=lengths, input_ids=ids, params=params))
    except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin may raise anything
        yield Fault(f"it failed {what}: {error}", f"return one result for each sequence: {expected}")
        return
    results = list(pooled) if isinstance(pooled, Tensor | list | tuple) else None
    if results is None or len(results) != len(lengths) or not all(isinstance(it, Tensor) for it in results):
        fix = f"return a tensor or a list of {len(lengths)} results"
        yield Fault(f"it returned {described(pooled)} {what}", fix)
        return
    for result, length in zip(results, lengths, strict=True):
        valid = (
            result.dim() == MATRIX_NDIM and len(result) <= length if per_token else list(result.shape) == [HIDDEN_SIZE]
        )
        if not valid or (isinstance(pooled, Tensor) and pooled.dim() > MATRIX_NDIM):
            reason = f"it returned {described(pooled if isinstance(pooled, Tensor) else result)} {what}"
            yield Fault(reason, f"return {expected} for each sequence; size_key names another width")
            return
        if not result.is_floating_point():
            yield Fault(
                f"it returned {str(result.dtype).removeprefix('torch.')} {what}", "return floating-point numbers"
            )
            return
        if not result.isfinite().all():
            yield Fault(f"it returned NaN or infinity {what}", "return finite numbers, also for one token")
            return
    if not torch.equal(hidden_states, rows):
        yield Fault(f"it writes into the hidden states {what}", "work on a copy: other poolers read them too")


def _mixing_faults(pooler: Any, lengths: tuple[int, ...], *, task: str) -> Iterator[Fault]:
    """A fault if the result of a sequence depends on the other sequences of the batch."""
    rows = _rows(sum(lengths))
    together = _results(pooler, rows, lengths)
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    for result, start, length in zip(together, starts, lengths, strict=True):
        try:
            (alone,) = _results(pooler, rows[start : start + length], (length,), first_id=start)
        except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin may raise anything
            yield Fault(
                f"it failed for the task {task!r} and a sequence of {length} tokens: {error}", "pool any length"
            )
            return
        if alone.shape != result.shape or not torch.allclose(
            alone.float(), result.float(), atol=TOLERANCE, rtol=TOLERANCE
        ):
            reason = f"for the task {task!r} its result for a sequence depends on the other sequences of the batch"
            yield Fault(reason, "compute each result only from the rows of its sequence: metadata.lengths")
            return


def _rows(count: int) -> Tensor:
    return torch.randn(count, HIDDEN_SIZE, generator=torch.Generator().manual_seed(0))


def _results(pooler: Any, rows: Tensor, lengths: tuple[int, ...], *, first_id: int = 0) -> list[Tensor]:
    ids = (first_id + torch.arange(len(rows))) % HIDDEN_SIZE
    metadata = PoolingMetadata(lengths=lengths, input_ids=ids, params=tuple(PoolingParams() for _ in lengths))
    with torch.inference_mode():
        return list(pooler(rows.clone(), metadata))
