"""The arguments and attributes of ``Context`` before 0.2, with a DeprecationWarning.

One class served models, poolers and IO processors: ``Context(task=...)`` and ``replace(ctx, task=...)`` now make a
``PoolerContext``, which has all of its attributes.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import wraps
from types import MappingProxyType
from typing import Any, Final, TypeVar

from millpond.compat.warn import warn_caller
from millpond.types.compute import ComputeOptions

T = TypeVar("T")

NEW: Final[Mapping[str, str]] = MappingProxyType(
    {
        "kernels": "compute=ComputeOptions(kernels=...)",
        "quantization": "compute=ComputeOptions(quantization=...)",
        "batch_invariant": "compute=ComputeOptions(batch_invariant=...)",
        "projector": "post_pooling=PostPooling([...])",
        "code": "post_pooling=PostPooling([...], sparse)",
        "ops": "requested=Requested(ops=...)",
        "activations": "requested=Requested(activations=...)",
    }
)
"""The new arguments, by the names of the old ones."""
OF_TASKS: Final[Mapping[str, str]] = MappingProxyType(
    {"task": "TaskContext", "head": "PoolerContext", "activation_name": "PoolerContext"}
)
"""The classes of contexts with these attributes, which all contexts had."""


def accepts_flat_arguments(context: type[T]) -> type[T]:
    """Accept the arguments before 0.2 in a class of contexts.

    Args:
        context: The class.
    """
    original: Callable[..., None] = context.__init__

    @wraps(original)
    def initialize(self: T, **fields: Any) -> None:
        flat = {name: fields.pop(name) for name in NEW if name in fields}
        if flat:
            changed = "; ".join(f"{name} is now {NEW[name]}" for name in flat)
            warn_caller(f"{type(self).__name__}: {changed}")
            _regroup(fields, flat)
        for name in OF_TASKS:
            if fields.get(name, self) is None and name not in type(self).__dataclass_fields__:  # type: ignore[attr-defined]
                del fields[name]
        original(self, **fields)

    context.__init__ = initialize  # type: ignore[method-assign, assignment]  # also accepts the former arguments
    return context


def serves_any_task(context: type[T]) -> type[T]:
    """Create a ``PoolerContext`` for a model's context with a task, and return None for attributes of tasks.

    Args:
        context: The class of contexts of models.
    """

    def create(kind: type[Any], **fields: Any) -> Any:
        names = [name for name in OF_TASKS if fields.get(name) is not None and name not in kind.__dataclass_fields__]
        if fields.get("task") is None or not names:
            return object.__new__(kind)
        from millpond.context import PoolerContext  # noqa: PLC0415  imports this module

        warn_caller(f"{kind.__name__} has no {', '.join(names)}: use ctx.for_task(task), or a PoolerContext")
        return object.__new__(PoolerContext)

    def read(self: object, name: str) -> None:
        if name in OF_TASKS:
            warn_caller(f"{type(self).__name__} has no {name}: a {OF_TASKS[name]} has it")
            return
        hint = ": it has no task, see ctx.for_task(task)" if name in ("task_spec", "task_entry") else ""
        message = f"{type(self).__name__!r} object has no attribute {name!r}{hint}"
        raise AttributeError(message)

    context.__new__ = create  # type: ignore[method-assign, assignment]  # as above
    context.__getattr__ = read  # type: ignore[attr-defined]
    return context


def _regroup(fields: dict[str, Any], flat: Mapping[str, Any]) -> None:
    """Move former arguments to their groups; other fields of a group are kept."""
    compute = {name: flat[name] for name in ("kernels", "quantization", "batch_invariant") if name in flat}
    if compute:
        fields["compute"] = replace(fields.get("compute", ComputeOptions()), **compute)
    if "projector" in flat or "code" in flat:
        fields["post_pooling"] = _post_pooling(fields.get("post_pooling"), flat)
    requested = {name: flat[name] for name in ("ops", "activations") if name in flat}
    if requested:
        from millpond.context import Requested  # noqa: PLC0415  imports this module

        fields["requested"] = replace(fields.get("requested", Requested()), **requested, chosen={})


def _post_pooling(present: Any, flat: Mapping[str, Any]) -> Any:
    from torch import nn

    from millpond.nn.post_pooling import PostPooling  # noqa: PLC0415  needs torch; listing plugins does not

    rows = flat.get("projector", present and present.rows)
    sparse = flat.get("code", present and present.sparse)
    if rows is None and sparse is None:
        return None
    return PostPooling(list(rows) if isinstance(rows, nn.Sequential) else [rows] if rows is not None else [], sparse)
