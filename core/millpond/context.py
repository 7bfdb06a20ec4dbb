"""Context: what a plugin's object is given when it is built, and its only way to anything else."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import TYPE_CHECKING, Any

from millpond.plugin.blame import blamed, breach, build, described, is_foreign, mark
from millpond.plugin.registry import imported
from millpond.types.config import JOINED_BY, CheckpointConfig, InputOptions, ModelConfig, PoolerConfig
from millpond.types.errors import UnknownNameError

if TYPE_CHECKING:
    import torch

    from millpond.loading.tokenizer import Tokenizer
    from millpond.nn.ops import Setting, Verdict
    from millpond.nn.pooler import Pooler
    from millpond.pipeline.image_reader import ImageReader
    from millpond.pipeline.io_processor import IOProcessor
    from millpond.plugin.registry import Entry, Registry
    from millpond.plugin.specs import ActivationSpec, KernelSpec, TaskSpec

ONE_TENSOR = ("attention", "gelu", "layer_norm_residual", "normalize")  # ops whose kernels return nothing else


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the objects of plugins are built with: ``target(ctx)``.

    Attributes:
        registry: All that plugins brought.
        model: What is known of the whole model: its limits, tasks, prompts.
        config: config.json, or the part of it that ``for_part`` chose.
        device: Where the model computes.
        dtype: What it computes in.
        tokenizer: The model's tokenizer; None if it has none.
        inputs: What becomes of prompts where a call does not say.
        kernels: The variants of ops that the user chose, such as ``{"attention": "sdpa"}``.
        quantization: The scheme that the model's linear maps compute in, such as "int8"; None for none. What stands
            behind the model, its poolers and heads, is not quantised.
        batch_invariant: Whether a result must be the same to the bit whatever shares its batch.
        projector: What the checkpoint applies to pooled vectors (its Dense modules); None if it has none.
        code: What makes pooled vectors sparse behind that (its SparseAutoEncoder); None if it has none.
        routes: The name and the context of the route of each input type, of a model whose queries and documents take
            different ones; None stands for a call that does not specify it. Empty for any other model.
        task: The task that a pooler or an IO processor is being built for.
        head: The module that the model gave this pooler, instead of the projector.
        activation_name: The activation that the model gave this pooler, instead of the task's.
        ops: The ops that were asked for so far, by this context and those made of it, and where each is computed.
        activations: The activations that were asked for so far, likewise, by the names they were asked for.
    """

    registry: "Registry"
    model: ModelConfig
    config: CheckpointConfig
    device: "torch.device"
    dtype: "torch.dtype"
    tokenizer: "Tokenizer | None" = None
    inputs: InputOptions = field(default_factory=InputOptions)
    kernels: Mapping[str, str] = field(default_factory=dict)
    quantization: str | None = None
    batch_invariant: bool = False
    projector: "torch.nn.Module | None" = None
    code: "torch.nn.Module | None" = None
    routes: "Mapping[str | None, tuple[str, Context]]" = field(default_factory=dict)
    task: str | None = None
    head: "torch.nn.Module | None" = None
    activation_name: str | None = None
    ops: "dict[str, Setting]" = field(default_factory=dict)
    activations: "dict[str, Entry[ActivationSpec]]" = field(default_factory=dict)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks the model serves."""
        return self.model.tasks

    @property
    def pooler_config(self) -> PoolerConfig:
        """The merged pooler config."""
        return self.model.pooler_config

    @property
    def task_spec(self) -> "TaskSpec":
        """The record of the task that a pooler or an IO processor is being built for."""
        return self.task_entry.spec

    @property
    def task_entry(self) -> "Entry[TaskSpec]":
        """The task's record with its owner: ``load()`` gives the type of the task's output."""
        if self.task is None:
            message = "this context is of no task: see ctx.pooler(task) and ctx.io_processor(name, task=...)"
            raise ValueError(message)
        return self.registry.tasks.get(self.task)

    def for_part(self, name: str) -> "Context":
        """The context of a part of the model, such as ``vision_config``."""
        return replace(self, config=self.config[name])

    def unquantized(self) -> "Context":
        """The same without quantization: for what stands behind the model."""
        if self.quantization is None:
            return self
        from millpond.nn.ops import unquantized_variants  # noqa: PLC0415  needs torch; listing plugins does not

        return replace(self, quantization=None, kernels=unquantized_variants(self.registry, self.kernels))

    def for_head(self) -> "Context":
        """The context of what stands behind the model: not quantised, in float32 whatever the model computes in."""
        import torch

        return replace(self.unquantized(), dtype=torch.float32)

    def pooler(self, task: str, *, head: "torch.nn.Module | None" = None, activation: str | None = None) -> "Pooler":
        """Build the pooler of a task: its pooling type is the configured one, or the task's own.

        Args:
            task: The name of the task.
            head: Applied to what is pooled, such as a classifier; by default the checkpoint's projector.
            activation: The name of the activation; by default the pooler's, else the task's.
        """
        ctx = replace(self.unquantized(), task=task, head=head, activation_name=activation)
        entries = [self.registry.poolers.get(name) for name in self.pooling_type(task).split(JOINED_BY)]
        methods: list[Pooler] = [
            build(entry, replace(ctx, activation_name=activation or entry.spec.activation)) for entry in entries
        ]
        coded = self.code is not None and head is None and not ctx.task_spec.per_token
        if len(methods) == 1 and not coded:
            return methods[0]
        from millpond.nn.pooler import ConcatenatedPooling  # noqa: PLC0415  needs torch; listing plugins does not
        from millpond.nn.sparse import CodedPooling  # noqa: PLC0415  as above

        whole = methods[0] if len(methods) == 1 else ConcatenatedPooling(ctx, methods)
        joined = CodedPooling(ctx, whole) if coded else whole
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

    def op(self, name: str, *, needs: tuple[str, ...] = ()) -> Callable[..., Any]:
        """The implementation of an op that suits this device and dtype, or the one the user chose.

        Args:
            name: The name of the op.
            needs: What the implementation must say that it serves.

        Raises:
            UnknownNameError: If none does; it says of each why not.
        """
        entry = self._choose(name, self.dtype, needs).entry
        kernel: Callable[..., Any] = entry.load()
        return _blaming(entry, kernel) if is_foreign(entry) and not isinstance(kernel, type) else kernel

    def _kernel_of_activation(self, op: str) -> "Entry[KernelSpec] | None":
        import torch

        try:
            return self._choose(op, torch.float32).entry  # pooled tensors are float32, whatever the model computes in
        except UnknownNameError:
            if op in self.kernels:  # what the user named is never replaced in silence
                raise
            return None

    def _choose(self, op: str, dtype: "torch.dtype", needs: tuple[str, ...] = ()) -> "Verdict":
        from millpond.nn.ops import Setting, choose_kernel  # noqa: PLC0415  needs torch; listing plugins does not

        setting = Setting(
            device=self.device,
            dtype=dtype,
            quantization=self.quantization,
            batch_invariant=self.batch_invariant,
            needs=needs,
        )
        verdict = choose_kernel(self.registry, op, setting, variant=self.kernels.get(op))
        self.ops.setdefault(op, setting)
        return verdict

    def image_reader(self) -> "ImageReader | None":
        """Build what reads texts with images in them; None if the model reads none.

        Raises:
            UnknownNameError: If what the model's record names does not import.
        """
        target = self.model.image_reader
        if target is None:
            return None
        owner = self.registry.architectures.find(self.model.architecture)
        try:
            kind = imported(target)
        except ImportError as error:
            message = f"the image reader {target!r} of {self.model.architecture} does not load: {error}"
            raise UnknownNameError(message) from error
        if not is_foreign(owner):
            built: ImageReader = kind(self)
            return built
        with blamed(owner, f"has an image_reader {target!r} that failed"):
            foreign: ImageReader = kind(self)
        return foreign

    def io_processor(self, name: str, *, task: str | None = None) -> "IOProcessor[Any, Any]":
        """Build the IO processor of that name.

        Args:
            name: Its name.
            task: The task it is to serve; it finds the task's record as ``ctx.task_spec``.
        """
        ctx = self if task is None else replace(self, task=task)
        processor: IOProcessor[Any, Any] = build(self.registry.io_processors.get(name), ctx)
        return processor


def _blaming(entry: "Entry[KernelSpec]", kernel: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel of a plugin that is not built in, whose failures name it and not the model that calls it."""
    from torch import Tensor

    @wraps(kernel)
    def named(*arguments: Any, **options: Any) -> Any:
        with blamed(entry):
            result = kernel(*arguments, **options)
        if entry.spec.op in ONE_TENSOR and not isinstance(result, Tensor):
            raise breach(entry, f"it returned {described(result)}; expected one tensor")
        return result

    return named


def _blamed_for_all(entries: "Sequence[Entry[Any]]") -> "Entry[Any]":
    """The record that is blamed where the results of several are joined: the first that is not built in."""
    return next((entry for entry in entries if is_foreign(entry)), entries[0])
