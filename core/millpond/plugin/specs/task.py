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
        io_processor: The name of the IO processor that serves it.
        default_pooling: The pooling type of a model for which nothing else decides.
        default_activation: The activation applied to the pooled tensor, or None.
        per_token: Whether its result is one row a token, instead of one a prompt.
        derived_from: The tasks whose results it is computed from. A model that serves one of them also serves this
            task, without a pooler for it. Empty for a task that models serve themselves.
        options: ``"module:Options"``, a frozen pydantic model with ``extra="forbid"``: the options that calls of the
            task take by name, and in ``extra_kwargs`` of their parameters. None for those of its IO processor.
        method: The name of a method of ``LLM`` and ``AsyncLLM`` that calls it, with prompts and the options as
            keyword arguments, such as ``entities``; None for a task that ``encode(..., pooling_task=...)`` calls.
        output: ``"module:RequestOutput"``, a subclass of ``PoolingRequestOutput`` that the method returns for each
            prompt; None for ``PoolingRequestOutput``.
        exports: Import strings of further types that ``from millpond import ...`` finds, beside target and output.
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
