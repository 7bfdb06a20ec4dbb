"""The records of tasks, poolers, activations, IO processors, kernels and caches."""

from dataclasses import dataclass
from typing import ClassVar

from millpond.plugin.specs.base import Spec


@dataclass(frozen=True, kw_only=True)
class TaskSpec(Spec):
    """A pooling task; its target is the type of output, such as ``millpond.types.outputs:EmbeddingOutput``.

    Attributes:
        io_processor: The name of the IO processor of the task.
        default_pooling: The pooling type, unless the user specifies one, or the checkpoint or the architecture
            specifies one whose record lists the task. None for the pooling type of the checkpoint or the architecture,
            else LAST, or ALL with ``per_token``.
        default_activation: The activation of pooled tensors, unless the model provides its own; None for none.
        per_token: True if the result has one row per token instead of one per prompt.
        derived_from: The tasks whose results it is computed from. A model that serves one of them also serves this
            task, without a pooler for it. Empty for a task that models serve themselves.
        options: ``"module:Options"``, a frozen pydantic model with ``extra="forbid"``: the options of calls, passed by
            name or in ``extra_kwargs`` of the parameters. None for the options of the IO processor.
        item: ``"module:Item"``, a pydantic model, for a task that reads objects instead of texts: callers pass its
            fields, and the IO processor receives instances. None for texts and token ids.
        method: The name of a method of ``LLM`` and ``AsyncLLM`` that calls it, with prompts and the options as
            keyword arguments, such as ``entities``; None for a task that ``encode(..., pooling_task=...)`` calls.
        output: ``"module:RequestOutput"``, a subclass of ``PoolingRequestOutput`` that the method returns for each
            prompt; None for ``PoolingRequestOutput``.
    """

    kind: ClassVar[str] = "task"
    io_processor: str
    default_pooling: str | None = None
    default_activation: str | None = None
    per_token: bool = False
    derived_from: tuple[str, ...] = ()
    options: str | object = None
    item: str | object = None
    method: str | None = None
    output: str | object = None

    @property
    def pooling(self) -> str:
        """The pooling type if nothing else specifies one."""
        return self.default_pooling or ("ALL" if self.per_token else "LAST")

    @property
    def pooling_key(self) -> str:
        """The field of ``PoolerConfig`` with the pooling type of the task."""
        return "tok_pooling_type" if self.per_token else "seq_pooling_type"


@dataclass(frozen=True, kw_only=True)
class PoolerSpec(Spec):
    """A pooler, named by its pooling type (``MEAN``); its target is a ``Pooler`` class.

    Attributes:
        tasks: The tasks that it serves.
        size_key: The key of config.json with the size of its results, such as ``vocab_size``; None for the size of
            the hidden states.
        activation: The activation of its results, in place of the activation of the task, such as ``identity``.
    """

    kind: ClassVar[str] = "pooler"
    tasks: tuple[str, ...]
    size_key: str | None = None
    activation: str | None = None


@dataclass(frozen=True, kw_only=True)
class ActivationSpec(Spec):
    """An activation of pooled tensors; its target takes and returns a tensor of shape [..., dim].

    Attributes:
        op: The op whose kernels compute it for models, in float32; the target is used if there is no such kernel.
    """

    kind: ClassVar[str] = "activation"
    op: str | None = None


@dataclass(frozen=True, kw_only=True)
class IOProcessorSpec(Spec):
    """An IO processor; its target is an ``IOProcessor`` class.

    Attributes:
        tasks: The tasks it serves; ``("plugin",)`` for custom input and output.
    """

    kind: ClassVar[str] = "io_processor"
    tasks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class KernelSpec(Spec):
    """One implementation of an op, named ``<op>.<variant>``; its target is a function.

    Attributes:
        devices: Device types it runs on, such as ``("cpu", "cuda")``; empty for any.
        dtypes: Names of the dtypes it computes in, such as ``("float32",)``; empty for any.
        priority: The matching variant with the highest priority is used.
        available: ``"module:function"``, called before the kernel is chosen: returns True if it can run here, otherwise
            False or the reason as text.
        quantization: The quantization scheme, such as ``"int8"``: the kernel is used only with this scheme, and
            precedes kernels without one.
        batch_invariant: True if the result of a sequence is bitwise independent of the rest of the batch; other kernels
            are not used with ``batch_invariant=True``.
        features: The optional features of the op that it supports, such as ``("softcap",)``. Models that require
            another feature use another kernel.
        fuses: The kernels that it combines, such as ``("attention.sdpa", "linear.torch")``: it is chosen only if each
            of them would be chosen for its op. An op alone, such as ``"attention"``, matches any of its kernels, unless
            the user selected one. Kernels of other plugins have qualified names: ``"kernels/attention.sdpa"``.
        cases: ``"module:class"`` of the ``KernelCases`` that creates the arguments of conformance tests; required in
            one record per op.
    """

    kind: ClassVar[str] = "kernel"
    devices: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    priority: int = 0
    available: str | None = None
    quantization: str | None = None
    batch_invariant: bool = False
    features: tuple[str, ...] = ()
    fuses: tuple[str, ...] = ()
    cases: str | None = None

    @property
    def op(self) -> str:
        """The op that it implements: the part of the name before the first dot."""
        return self.name.partition(".")[0]

    @property
    def variant(self) -> str:
        """The variant: the part of the name after the first dot."""
        return self.name.partition(".")[2]


@dataclass(frozen=True, kw_only=True)
class ExecutorSpec(Spec):
    """A part that computes batches; target: ``(EngineSetup) -> Executor``.

    The name is a value of the argument ``data_parallel_backend`` of ``LLM``, for several processes; or a type of device
    such as ``cuda``, for models on one such device. ``EngineSetup`` is in ``millpond.executor``, and the protocol
    ``Executor`` in ``millpond.engine.executor``.
    """

    kind: ClassVar[str] = "executor"
