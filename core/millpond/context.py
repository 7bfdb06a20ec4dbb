"""The contexts that objects of plugins are built with, ``target(ctx)``: their only way to anything else."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Self

from millpond.compat.flat_context import accepts_flat_arguments, serves_any_task
from millpond.compat.renamed import renamed_arguments
from millpond.plugin.blame import blamed, build, is_foreign, mark
from millpond.plugin.target import Target, imported
from millpond.types.compute import ComputeOptions
from millpond.types.config import JOINED_BY, CheckpointConfig, InputOptions, ModelConfig, PoolerConfig
from millpond.types.errors import UnknownNameError

if TYPE_CHECKING:
    import torch

    from millpond.loading.tokenizer import Tokenizer
    from millpond.nn.ops import KernelMatch, OpContext
    from millpond.nn.pooler import Pooler
    from millpond.nn.post_pooling import PostPooling
    from millpond.pipeline.image_reader import ImageReader
    from millpond.pipeline.io_processor import IOProcessor
    from millpond.plugin.registry import Entry, Registry
    from millpond.plugin.specs import ActivationSpec, KernelSpec, TaskSpec


@dataclass(frozen=True)
class Requested:
    """The components that a model and its poolers asked for so far; filled while they are built.

    Attributes:
        ops: The ops, and where each is computed.
        activations: The activations, by the names they were asked for.
        chosen: The kernel chosen for each op and setting.
    """

    ops: "dict[str, OpContext]" = field(default_factory=dict)
    activations: "dict[str, Entry[ActivationSpec]]" = field(default_factory=dict)
    chosen: "dict[tuple[object, ...], KernelMatch]" = field(default_factory=dict)


@serves_any_task
@accepts_flat_arguments
@dataclass(frozen=True, kw_only=True)
class ModelContext:
    """What a model is built with.

    Attributes:
        registry: The records of all plugins.
        model: The facts about the whole model: its limits, tasks, prompts.
        config: config.json, or the part of it that ``for_part`` chose.
        device: Where the model computes.
        dtype: What it computes in.
        tokenizer: The model's tokenizer; None if it has none.
        inputs: How prompts are read where a call does not say.
        compute: How it computes: variants of ops, quantization, independence of the batch.
        post_pooling: The modules of the checkpoint after pooling: ``rows`` maps rows, and ``sparse`` makes sparse
            vectors of them; None if it has none.
        routes: The name and the context of the route of each input type, of a model whose queries and documents take
            different ones; None stands for a call that does not specify it. Empty for any other model.
        requested: The ops and activations that were asked for so far, by this context and those made of it.
    """

    registry: "Registry"
    model: ModelConfig
    config: CheckpointConfig
    device: "torch.device"
    dtype: "torch.dtype"
    tokenizer: "Tokenizer | None" = None
    inputs: InputOptions = field(default_factory=InputOptions)
    compute: ComputeOptions = field(default_factory=ComputeOptions)
    post_pooling: "PostPooling | None" = None
    routes: "Mapping[str | None, tuple[str, ModelContext]]" = field(default_factory=dict)
    requested: Requested = field(default_factory=Requested)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks the model serves."""
        return self.model.tasks

    @property
    def pooler_config(self) -> PoolerConfig:
        """The merged pooler config."""
        return self.model.pooler_config

    @property
    def kernels(self) -> Mapping[str, str]:
        """The variants of ops that the user chose."""
        return self.compute.kernels

    @property
    def quantization(self) -> str | None:
        """The scheme that the model's linear maps compute in; None for none."""
        return self.compute.quantization

    @property
    def batch_invariant(self) -> bool:
        """True if a result must be the same to the bit whatever shares its batch."""
        return self.compute.batch_invariant

    @property
    def ops(self) -> "dict[str, OpContext]":
        """The ops that were asked for so far, and where each is computed."""
        return self.requested.ops

    @property
    def activations(self) -> "dict[str, Entry[ActivationSpec]]":
        """The activations that were asked for so far, by the names they were asked for."""
        return self.requested.activations

    @property
    def rows_after_pooling(self) -> "torch.nn.Sequential | None":
        """The modules after pooling that map rows, pooled ones or those of tokens; None if there are none."""
        return None if self.post_pooling is None else self.post_pooling.rows

    @property
    def makes_sparse(self) -> bool:
        """True if a module after pooling makes sparse vectors of what is pooled."""
        return self.post_pooling is not None and self.post_pooling.sparse is not None

    @property
    def projector(self) -> "torch.nn.Sequential | None":
        """The old name of ``rows_after_pooling``."""
        warnings.warn("ctx.projector was renamed: use ctx.rows_after_pooling", DeprecationWarning, stacklevel=2)
        return self.rows_after_pooling

    @property
    def code(self) -> "torch.nn.Module | None":
        """The old name of ``post_pooling.sparse``."""
        warnings.warn("ctx.code was renamed: use ctx.post_pooling.sparse", DeprecationWarning, stacklevel=2)
        return None if self.post_pooling is None else self.post_pooling.sparse

    def for_part(self, name: str) -> Self:
        """The context of a part of the model, such as ``vision_config``."""
        return replace(self, config=self.config[name])

    def unquantized(self) -> Self:
        """The same without quantization: for what comes after the model."""
        if self.quantization is None:
            return self
        from millpond.nn.ops import unquantized_variants  # noqa: PLC0415  needs torch; listing plugins does not

        kernels = unquantized_variants(self.registry, self.kernels)
        return replace(self, compute=replace(self.compute, quantization=None, kernels=kernels))

    def for_head(self) -> Self:
        """The context of what comes after the model: not quantised, in float32 whatever the model computes in."""
        import torch

        return replace(self.unquantized(), dtype=torch.float32)

    def for_task(self, task: str) -> "TaskContext":
        """The context of an IO processor that serves a task."""
        return TaskContext(**self._facts(), task=task)

    def pooler(self, task: str, *, head: "torch.nn.Module | None" = None, activation: str | None = None) -> "Pooler":
        """Build the pooler of a task: its pooling type is the configured one, or the task's own.

        Args:
            task: The name of the task.
            head: Applied to what is pooled, such as a classifier; by default the checkpoint's modules.
            activation: The name of the activation; by default the pooler's, else the task's.
        """
        facts = self.unquantized()._facts()  # noqa: SLF001
        ctx = PoolerContext(**facts, task=task, head=head, activation_name=activation)
        entries = [self.registry.poolers.get(name) for name in self.pooling_type(task).split(JOINED_BY)]
        methods: list[Pooler] = [
            build(entry, replace(ctx, activation_name=activation or entry.spec.activation)) for entry in entries
        ]
        is_sparse = self.makes_sparse and head is None and not ctx.task_spec.per_token
        if len(methods) == 1 and not is_sparse:
            return methods[0]
        from millpond.nn.pooler import ConcatenatedPooling  # noqa: PLC0415  needs torch; listing plugins does not
        from millpond.nn.sparse import SparseAutoEncoderPooling  # noqa: PLC0415  as above

        whole = methods[0] if len(methods) == 1 else ConcatenatedPooling(ctx, methods)
        joined = SparseAutoEncoderPooling(ctx, whole) if is_sparse else whole
        mark(joined, _blamed_for_all(entries))
        return joined

    def pooling_type(self, task: str) -> str:
        """The name of the pooler that serves a task; of several whose results are joined, ``CLS+MEAN``."""
        spec = self.registry.tasks.get(task).spec
        config = self.pooler_config
        return (config.tok_pooling_type if spec.per_token else config.seq_pooling_type) or spec.default_pooling

    def activation(self, name: str | None) -> "Callable[[torch.Tensor], torch.Tensor]":
        """The activation of that name, by the implementation of its op where there is one; None is the identity."""
        entry = self.activations.setdefault(name or "identity", self.registry.activations.get(name or "identity"))
        kernel = None if entry.spec.op is None else self._kernel_of_activation(entry.spec.op)
        chosen: Entry[Any] = entry if kernel is None else kernel
        function: Callable[[torch.Tensor], torch.Tensor] = chosen.load()
        if not is_foreign(chosen):
            return function
        from millpond.nn.activation import CheckedActivation  # noqa: PLC0415  needs torch; listing plugins does not

        return CheckedActivation(chosen, function)

    @renamed_arguments(needs="required_features")
    def op(self, name: str, *, required_features: tuple[str, ...] = ()) -> Callable[..., Any]:
        """The implementation of an op that suits this device and dtype, or the one the user chose.

        Args:
            name: The name of the op.
            required_features: The features that the implementation must have.

        Raises:
            UnknownNameError: If none does; it says of each why not.
        """
        from millpond.nn.ops import loaded_kernel  # noqa: PLC0415  needs torch; listing plugins does not

        return loaded_kernel(self._choose(name, self.dtype, required_features).entry)

    def _kernel_of_activation(self, op: str) -> "Entry[KernelSpec] | None":
        import torch

        try:
            return self._choose(op, torch.float32).entry  # pooled tensors are float32, whatever the model computes in
        except UnknownNameError:
            if op in self.kernels:  # a variant that the user named is never replaced silently
                raise
            return None

    def op_context(self, dtype: "torch.dtype", required_features: tuple[str, ...] = ()) -> "OpContext":
        """Where and how an op of the model is computed in a dtype."""
        from millpond.nn.ops import OpContext  # noqa: PLC0415  needs torch; listing plugins does not

        return OpContext(
            device=self.device,
            dtype=dtype,
            quantization=self.compute.quantization,
            batch_invariant=self.compute.batch_invariant,
            required_features=required_features,
            kernels=self.compute.kernels,
        )

    def _choose(self, op: str, dtype: "torch.dtype", required_features: tuple[str, ...] = ()) -> "KernelMatch":
        from millpond.nn.ops import choose_kernel  # noqa: PLC0415  needs torch; listing plugins does not

        compute = self.compute
        variants = sorted(compute.kernels.items())
        key = (op, dtype, required_features, self.device, compute.batch_invariant, compute.quantization, *variants)
        verdict = self.requested.chosen.get(key)
        if verdict is None:
            setting = self.op_context(dtype, required_features)
            verdict = self.requested.chosen[key] = choose_kernel(self.registry, op, setting)
            self.ops.setdefault(op, setting)
        return verdict

    def image_reader(self) -> "ImageReader | None":
        """Build what reads texts with images in them; None if the model reads none.

        Raises:
            UnknownNameError: If the target of the model's record does not import.
        """
        target = self.model.multimodal.image_reader
        if target is None:
            return None
        owner = self.registry.architectures.find(self.model.architecture)
        kind = imported(target) if owner is None else Target(target, owner, "extras.image_processor").load()
        with blamed(owner if is_foreign(owner) else None, f"has an image_reader {target!r} that failed"):
            reader: ImageReader = kind(self)
        return reader

    def io_processor(self, name: str, *, task: str) -> "IOProcessor[Any]":
        """Build the IO processor of that name.

        Args:
            name: Its name.
            task: The task it is to serve; it finds the task's record as ``ctx.task_spec``.
        """
        processor: IOProcessor[Any] = build(self.registry.io_processors.get(name), self.for_task(task))
        return processor

    def _facts(self) -> dict[str, Any]:
        """The fields of a ModelContext, by their names."""
        return {each.name: getattr(self, each.name) for each in fields(ModelContext)}


@accepts_flat_arguments
@dataclass(frozen=True, kw_only=True)
class TaskContext(ModelContext):
    """What an IO processor is built with.

    Attributes:
        task: The task that it serves.
    """

    task: str

    @property
    def task_spec(self) -> "TaskSpec":
        """The record of the task."""
        return self.task_entry.spec

    @property
    def task_entry(self) -> "Entry[TaskSpec]":
        """The task's record with its owner: ``load()`` returns the type of the task's output."""
        return self.registry.tasks.get(self.task)

    def io_processor(self, name: str, *, task: str | None = None) -> "IOProcessor[Any]":
        """Build the IO processor of that name, by default for the same task."""
        return super().io_processor(name, task=task or self.task)


@accepts_flat_arguments
@dataclass(frozen=True, kw_only=True)
class PoolerContext(TaskContext):
    """What a pooler is built with.

    Attributes:
        head: The module that the model gave this pooler, instead of the projector.
        activation_name: The activation that the model or the pooler's record names, instead of the task's.
    """

    head: "torch.nn.Module | None" = None
    activation_name: str | None = None


Context = ModelContext  # the name that authors of models use


def _blamed_for_all(entries: "Sequence[Entry[Any]]") -> "Entry[Any]":
    """The record that is blamed where the results of several are joined: the first that is not built in."""
    return next((entry for entry in entries if is_foreign(entry)), entries[0])
