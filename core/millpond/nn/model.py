"""PoolingModel: from a packed batch to hidden states; owns the poolers of its tasks."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from millpond.nn.batch import PackedBatch
from millpond.nn.classifier import LogitScaling
from millpond.nn.weight_loading import LoadedWeights, load_parameter
from millpond.nn.weight_transform import LowRank, WeightTransform, transformed, transformed_adapter

if TYPE_CHECKING:
    from millpond.context import ModelContext


class PoolingModel(nn.Module):
    """Turns a packed batch into hidden states, and owns the poolers of its tasks.

    It is built on the meta device: parameters get memory when their weights arrive. Buffers that the
    checkpoint does not hold must therefore be made in ``forward``.

    Attributes:
        weight_prefixes: What may stand before every name in the checkpoint, and is cut off.
        weight_names: Patterns of checkpoint names and the parameter names they become (``re.sub``, the first that
            matches whole). A parameter name that ends in ``@i`` is part i of a fused ``Linear``.
        weight_transforms: How tensors are transposed, split or merged before they are named.
        ignored_weights: Patterns of checkpoint names that are left out on purpose.
    """

    weight_prefixes: ClassVar[Sequence[str]] = ()
    weight_names: ClassVar[Sequence[tuple[str, str]]] = ()
    weight_transforms: ClassVar[Sequence[WeightTransform]] = ()
    ignored_weights: ClassVar[Sequence[str]] = ()

    def __init__(self, ctx: "ModelContext") -> None:
        super().__init__()
        self.ctx = ctx
        self.poolers = nn.ModuleDict({task: self.build_pooler(ctx, task) for task in ctx.tasks})

    def build_pooler(self, ctx: "ModelContext", task: str) -> nn.Module:
        """The pooler of a task; override it where the model has a head of its own for it."""
        return ctx.pooler(task)

    def classifier_pooler(self, ctx: "ModelContext", task: str, classifier: nn.Module) -> nn.Module:
        """The pooler of a classifying task: logits, calibrated and activated as user and checkpoint say.

        Args:
            ctx: The model's context.
            task: The name of the task.
            classifier: Pooled rows [num_rows, hidden] to logits [num_rows, num_labels].
        """
        return ctx.pooler(task, head=LogitScaling(ctx, classifier), activation=ctx.model.classification.activation)

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch of num_tokens tokens -> [num_tokens, hidden]."""
        raise NotImplementedError

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> LoadedWeights:
        """Give the parameters their values, and say what became of each tensor."""
        result = LoadedWeights()
        for name, tensor, source in transformed(self, weights):
            target = self.parameter_name(name)
            if target is None:
                continue
            if load_parameter(self, target, tensor, dtype=self.ctx.dtype, device=self.ctx.device, name=source):
                result.names.add(target)
            else:
                result.unused.append(source if source == name else f"{name} (of {source})")
        return result

    def load_adapters(self, adapters: Mapping[str, Mapping[str, tuple[Tensor, Tensor]]]) -> None:
        """Take the adapters that lie beside the weights; for models whose record has ``adapter_folders``.

        Args:
            adapters: Of each, by its name, what it changes: the checkpoint's names of weights, without ``.weight``, and
                what ``up @ down`` is added to each, ``up`` [rows, rank] and ``down`` [rank, columns].
        """
        raise NotImplementedError

    def adapter_changes(self, changes: Mapping[str, LowRank]) -> dict[str, LowRank]:
        """The changes of one adapter, as ``load_adapters`` gets them, by the names of this model's parameters."""
        return transformed_adapter(self, changes)

    def parameter_name(self, name: str) -> str | None:
        """The name of the parameter that a checkpoint name means; None if it is left out on purpose."""
        bare = name
        for prefix in self.weight_prefixes:
            if name.startswith(prefix):
                bare = name.removeprefix(prefix)
                break
        for pattern in self.ignored_weights:
            if re.fullmatch(pattern, bare):
                return None
        for pattern, replacement in self.weight_names:
            match = re.fullmatch(pattern, bare)
            if match:
                return match.expand(replacement)
        return bare
