"""PoolingModel and TokenModule: the base classes of models, and of modules between a model and its poolers."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from millpond.nn.batch import PackedBatch
from millpond.nn.weights import (
    LoadedWeights,
    LowRank,
    WeightTransform,
    load_parameter,
    transformed,
    transformed_adapter,
    without_prefix,
)

if TYPE_CHECKING:
    from millpond.context import ModelContext


class TokenModule(nn.Module):
    """A module before pooling that reads the sequences of a batch, or the layers of the model."""

    def attach(self, model: nn.Module) -> None:
        """Keep references to parts of the loaded model that the module needs; none by default."""

    def forward(self, hidden_states: Tensor, batch: PackedBatch) -> Tensor:
        """[num_tokens, in_features] -> [num_tokens, out_features]."""
        raise NotImplementedError


class PoolingModel(nn.Module):
    """Computes the hidden states of a packed batch, and owns the poolers of its tasks.

    The model is built on the meta device, and parameters are allocated when their weights are loaded. Buffers that are
    not in the checkpoint must therefore be created in ``forward``.

    Attributes:
        weight_prefixes: Optional prefixes of the names in the checkpoint, which are removed.
        weight_names: Patterns of checkpoint names and the parameter names that replace them (``re.sub``); the first
            pattern that matches the whole name applies. A parameter name ``name@i`` is shard i of a fused ``Linear``.
        weight_transforms: Tensors to transpose, split or merge before ``weight_names`` applies.
        ignored_weights: Patterns of checkpoint names that are not loaded.
        cacheable: False if results depend on more than the sequence, the parameters and the files, such as the time:
            they are never read from a cache.
        token_modules: The modules of the checkpoint before pooling that read the sequences of a batch.
    """

    weight_prefixes: ClassVar[Sequence[str]] = ()
    weight_names: ClassVar[Sequence[tuple[str, str]]] = ()
    weight_transforms: ClassVar[Sequence[WeightTransform]] = ()
    ignored_weights: ClassVar[Sequence[str]] = ()
    cacheable: ClassVar[bool] = True
    token_modules: Sequence[TokenModule] = ()

    def __init__(self, ctx: "ModelContext") -> None:
        super().__init__()
        self.ctx = ctx
        self.poolers = nn.ModuleDict({task: self.build_pooler(ctx, task) for task in ctx.tasks})

    def build_pooler(self, ctx: "ModelContext", task: str) -> nn.Module:
        """Build the pooler of a task; override this method if the model has its own head for the task."""
        return ctx.pooler(task)

    def forward(self, batch: PackedBatch) -> Tensor:
        """Batch of num_tokens tokens -> [num_tokens, hidden]."""
        raise NotImplementedError

    def shares_prefixes(self) -> bool:
        """Return True if the tokens with which several sequences begin may be computed once.

        Override it in causal models: the hidden states of a token must depend only on its id, its position, and the
        tokens before it, and tokens may affect each other only in ``Attention``.
        """
        return False

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> LoadedWeights:
        """Load the checkpoint's tensors into the parameters; return the loaded names and the unused tensors."""
        result = LoadedWeights()
        sources: dict[str, str] = {}
        for name, tensor in transformed(self, weights, sources) if self.weight_transforms else weights:
            target, source = self.parameter_name(name), sources.get(name, name)
            if target is None:
                continue
            if load_parameter(self, target, tensor, dtype=self.ctx.dtype, device=self.ctx.device, name=source):
                result.names.add(target)
            else:
                result.unused.append(source if source == name else f"{name} (of {source})")
        return result

    def load_adapters(self, adapters: Mapping[str, Mapping[str, tuple[Tensor, Tensor]]]) -> None:
        """Load the adapters in the model's folder, for models whose record has ``adapter_folders``.

        Args:
            adapters: For each adapter name, the weights that it changes: the name in the checkpoint without
                ``.weight``, and the matrices ``up`` [rows, rank] and ``down`` [rank, columns], whose product is added.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement load_adapters, which its record requires")

    def adapter_changes(self, changes: Mapping[str, LowRank]) -> dict[str, LowRank]:
        """Return the changes of one adapter of ``load_adapters``, by the names of this model's parameters."""
        return transformed_adapter(self, changes)

    def parameter_name(self, name: str) -> str | None:
        """Return the parameter name for a name in the checkpoint; None if the tensor is ignored."""
        bare = without_prefix(self, name)[1] if name.startswith(tuple(self.weight_prefixes)) else name
        for pattern in self.ignored_weights:
            if re.fullmatch(pattern, bare):
                return None
        for pattern, replacement in self.weight_names:
            match = re.fullmatch(pattern, bare)
            if match:
                return match.expand(replacement)
        return bare
