"""Contexts: the ``ctx`` argument that models, poolers and IO processors of plugins are built with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Never, Self

from millpond.model.repository import Repository
from millpond.model.spec import ResolvedModel
from millpond.plugin.blame import build, is_foreign, mark
from millpond.plugin.kernels import KernelMatch, OpContext, choose_kernel, load_activation, unquantized_variants
from millpond.types.compute import BFLOAT16_WEIGHTS, ComputeOptions
from millpond.types.config import JOINED_BY, CheckpointConfig, InputOptions, PoolerConfig
from millpond.types.errors import UnknownNameError

if TYPE_CHECKING:
    import torch

    from millpond.model.tokenizer import Tokenizer
    from millpond.plugin.registry import Entry, Registry
    from millpond.plugin.specs import ActivationSpec, KernelSpec, TaskSpec


WITH_TASK = "a TaskContext and a PoolerContext have it. ctx.for_task(task) returns a TaskContext"
WITH_HEAD = "a PoolerContext has it. ctx.pooler(task, head=..., activation=...) passes one to the pooler that it builds"
ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {
        "task": WITH_TASK,
        "task_spec": WITH_TASK,
        "task_entry": WITH_TASK,
        "head": WITH_HEAD,
        "activation_name": WITH_HEAD,
    }
)
"""The contexts that have an attribute, and the way to get one, for attributes that not all contexts have."""


@dataclass(frozen=True)
class Requested:
    """The components that a model and its poolers have requested so far; filled while they are built.

    Attributes:
        ops: The ops, each with its device, dtype and options.
        activations: The activations, by requested name.
        chosen: A cache of the kernels chosen for each op and its context.
    """

    ops: "dict[str, OpContext]" = field(default_factory=dict)
    activations: "dict[str, Entry[ActivationSpec]]" = field(default_factory=dict)
    chosen: "dict[tuple[object, ...], KernelMatch]" = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelContext:
    """The context that a model is built with.

    Attributes:
        registry: The records of all plugins.
        model: The facts about the whole model: its limits, tasks, prompts.
        config: config.json, or the part of it selected with ``for_part``.
        device: The device of the model.
        dtype: The dtype of the model.
        tokenizer: The model's tokenizer; None if it has none.
        inputs: Default options for reading prompts.
        compute: The compute options: variants of ops, quantization, batch invariance.
        rows_after_pooling: The modules of the checkpoint after pooling that map pooled rows or token vectors, in
            float32; None without such modules.
        sparse_after_pooling: The module that turns their result into sparse vectors; None without one. Its method
            ``pooler(ctx, pooler)`` returns a pooler that applies it to the results of a pooling method.
        routes: For models with separate routes for queries and documents: the name and the context of the route of
            each input type; the key None is for calls without an input type. Empty for other models.
        requested: The ops and activations requested so far, with this context and the contexts derived from it.
    """

    registry: "Registry"
    model: ResolvedModel
    config: CheckpointConfig
    device: "torch.device"
    dtype: "torch.dtype"
    tokenizer: "Tokenizer | None" = None
    inputs: InputOptions = field(default_factory=InputOptions)
    compute: ComputeOptions = field(default_factory=ComputeOptions)
    rows_after_pooling: "torch.nn.Sequential | None" = None
    sparse_after_pooling: "Any | None" = None
    routes: "Mapping[str | None, tuple[str, ModelContext]]" = field(default_factory=dict)
    requested: Requested = field(default_factory=Requested)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks of the model."""
        return self.model.tasks

    @property
    def repository(self) -> Repository:
        """The files that the model was loaded from."""
        identity = self.model.identity
        return Repository(identity.model, Path(identity.path), identity.source, plugins=self.registry)

    @property
    def pooler_config(self) -> PoolerConfig:
        """The merged pooler config."""
        return self.model.pooler_config

    @cached_property
    def weight_dtype(self) -> "torch.dtype":
        """The dtype in which the model's weights are stored: narrower than ``dtype`` in mixed precision."""
        import torch

        return torch.bfloat16 if self.compute.quantization == BFLOAT16_WEIGHTS else self.dtype

    def __getattr__(self, name: str) -> Never:
        """Name the context that has a missing attribute."""
        hint = f": {ELSEWHERE[name]}" if name in ELSEWHERE else ""
        message = f"{type(self).__name__} has no {name}{hint}"
        raise AttributeError(message, name=name, obj=self)

    def for_part(self, name: str) -> Self:
        """Return the context of a part of the model, such as ``vision_config``."""
        return replace(self, config=self.config[name])

    def unquantized(self) -> Self:
        """Return the same context without quantization, for modules after the model."""
        if self.compute.quantization is None:
            return self
        kernels = unquantized_variants(self.registry, self.compute.kernels)
        return replace(self, compute=replace(self.compute, quantization=None, kernels=kernels))

    def for_head(self) -> Self:
        """Return the context of modules after the model: without quantization, and always in float32."""
        import torch

        return replace(self.unquantized(), dtype=torch.float32)

    def for_task(self, task: str) -> "TaskContext":
        """Return the context of an IO processor for a task."""
        return TaskContext(**self._facts(), task=task)

    def pooler(
        self, task: str, *, head: "torch.nn.Module | None" = None, activation: str | None = None
    ) -> "torch.nn.Module":
        """Build the ``Pooler`` of a task, with the configured pooling type or else the task's default.

        Args:
            task: The name of the task.
            head: A module that maps pooled rows, such as a classifier; by default the checkpoint's modules.
            activation: The name of the activation; by default the pooler's, else the task's.
        """
        facts = self.unquantized()._facts()  # noqa: SLF001
        ctx = PoolerContext(**facts, task=task, head=head, activation_name=activation)
        entries = [self.registry.poolers.get(name) for name in self.pooling_type(task).split(JOINED_BY)]
        methods = [build(entry, replace(ctx, activation_name=activation or entry.spec.activation)) for entry in entries]
        pooler: torch.nn.Module = methods[0] if len(methods) == 1 else methods[0].concatenated(ctx, methods)
        sparse = None if head is not None or ctx.task_spec.per_token else self.sparse_after_pooling
        if sparse is not None:
            pooler = sparse.pooler(ctx, pooler)
        mark(pooler, next((entry for entry in entries if is_foreign(entry)), entries[0]))
        return pooler

    def pooling_type(self, task: str) -> str:
        """Return the name of the task's pooler; for several concatenated poolers, names joined by "+": ``CLS+MEAN``."""
        spec = self.registry.tasks.get(task).spec
        return self.model.pooling_types.get(task) or getattr(self.pooler_config, spec.pooling_key) or spec.pooling

    def activation(self, name: str | None) -> "Callable[[torch.Tensor], torch.Tensor]":
        """Return the activation of that name, or the kernel of its op if it has one; None is the identity."""
        name = name or "identity"
        entry = self.requested.activations.setdefault(name, self.registry.activations.get(name))
        kernel = None if entry.spec.op is None else self._kernel_of_activation(entry.spec.op)
        chosen: Entry[Any] = entry if kernel is None else kernel
        return load_activation(chosen)

    def op(self, name: str, *, required_features: tuple[str, ...] = ()) -> Callable[..., Any]:
        """Return the kernel of an op for this device and dtype: the one that the user chose, else the best.

        Args:
            name: The name of the op.
            required_features: The features that the kernel must have.

        Raises:
            UnknownNameError: If no kernel fits; the message states the reason for each kernel.
        """
        return self._choose(name, self.dtype, required_features).kernel

    def _kernel_of_activation(self, op: str) -> "Entry[KernelSpec] | None":
        import torch

        try:
            return self._choose(op, torch.float32).entry  # pooled tensors are float32 for models of any dtype
        except UnknownNameError:
            if op in self.compute.kernels:  # a variant that the user named is never replaced silently
                raise
            return None

    def op_context(self, dtype: "torch.dtype", required_features: tuple[str, ...] = ()) -> "OpContext":
        """Return the context of an op of the model that is computed in a dtype."""
        return OpContext(device=self.device, dtype=dtype, required_features=required_features, **vars(self.compute))

    def _choose(self, op: str, dtype: "torch.dtype", required_features: tuple[str, ...] = ()) -> "KernelMatch":
        compute = self.compute
        variants = sorted(compute.kernels.items())
        key = (op, dtype, required_features, self.device, compute.batch_invariant, compute.quantization, *variants)
        match = self.requested.chosen.get(key)
        if match is None:
            context = self.op_context(dtype, required_features)
            match = self.requested.chosen[key] = choose_kernel(self.registry, op, context)
            self.requested.ops.setdefault(op, context)
        return match

    def io_processor(self, name: str, *, task: str) -> Any:
        """Build the ``IOProcessor`` of that name.

        Args:
            name: The name of the IO processor.
            task: The task that it is built for; the task's record is its ``ctx.task_spec``.
        """
        return build(self.registry.io_processors.get(name), self.for_task(task))

    def _facts(self) -> dict[str, Any]:
        """The fields of a ModelContext, by name."""
        return {item.name: getattr(self, item.name) for item in fields(ModelContext)}


@dataclass(frozen=True, kw_only=True)
class TaskContext(ModelContext):
    """The context that an IO processor is built with.

    Attributes:
        task: The name of its task.
    """

    task: str

    @property
    def task_spec(self) -> "TaskSpec":
        """The record of the task."""
        return self.task_entry.spec

    @property
    def task_entry(self) -> "Entry[TaskSpec]":
        """The task's record with its plugin; ``load()`` returns the type of the task's output."""
        return self.registry.tasks.get(self.task)

    def io_processor(self, name: str, *, task: str | None = None) -> Any:
        """Build the ``IOProcessor`` of that name, by default for the same task."""
        return super().io_processor(name, task=task or self.task)


@dataclass(frozen=True, kw_only=True)
class PoolerContext(TaskContext):
    """The context that a pooler is built with.

    Attributes:
        head: The module that the model passed to this pooler, in place of ``rows_after_pooling``; None without one.
        activation_name: The activation that the model or the pooler's record names; None for the task's default.
    """

    head: "torch.nn.Module | None" = None
    activation_name: str | None = None


Context = ModelContext  # the short name, used in model definitions
