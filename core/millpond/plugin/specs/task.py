"""The record of a pooling task."""

from dataclasses import dataclass
from typing import ClassVar

from millpond.compat.renamed import renamed_fields
from millpond.plugin.specs.base import Spec


@renamed_fields(made_of="derived_from")
@dataclass(frozen=True, kw_only=True)
class TaskSpec(Spec):
    """A pooling task; its target is the type of output, such as ``millpond.types.outputs:EmbeddingOutput``.

    Attributes:
        io_processor: The name of the IO processor of the task.
        default_pooling: The pooling type if neither the user, the checkpoint nor the architecture specifies one.
        default_activation: The activation of pooled tensors, unless the model provides its own; None for none.
        per_token: True if the result has one row per token instead of one per prompt.
        derived_from: The tasks whose results it is computed from. A model that serves one of them also serves this
            task, without a pooler for it. Empty for a task that models serve themselves.
        options: ``"module:Options"``, a frozen pydantic model with ``extra="forbid"``: the options of calls, passed by
            name or in ``extra_kwargs`` of the parameters. None for the options of the IO processor.
        method: The name of a method of ``LLM`` and ``AsyncLLM`` that calls it, with prompts and the options as
            keyword arguments, such as ``entities``; None for a task that ``encode(..., pooling_task=...)`` calls.
        output: ``"module:RequestOutput"``, a subclass of ``PoolingRequestOutput`` that the method returns for each
            prompt; None for ``PoolingRequestOutput``.
        exports: Import strings of other types that can be imported from ``millpond``, like target and output.
    """

    kind: ClassVar[str] = "task"
    io_processor: str
    default_pooling: str = "LAST"
    default_activation: str | None = None
    per_token: bool = False
    derived_from: tuple[str, ...] = ()
    options: str | object = None
    method: str | None = None
    output: str | object = None
    exports: tuple[str, ...] = ()
