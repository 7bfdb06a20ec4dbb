"""RoutedModel: a model whose queries and documents use separate backbones, or one backbone and separate poolers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from millpond.nn import PackedBatch, Pooler, PoolingMetadata, PoolingModel
from millpond.types.params import PoolingParams
from millpond_modeling.pooler_options import RouteOptions

if TYPE_CHECKING:
    from millpond.context import ModelContext


@dataclass(frozen=True, eq=False)
class RouteParts:
    """The backbone and poolers of one route.

    Attributes:
        backbone: The model before pooling; routes may share a backbone.
        poolers: The pooler of each task.
    """

    backbone: PoolingModel
    poolers: nn.ModuleDict


class RoutedModel(PoolingModel):
    """Computes each sequence with the backbone of its route, and pools it with the pooler of its route."""

    def __init__(
        self, ctx: "ModelContext", parts: Mapping[str, RouteParts], by_input_type: Mapping[str | None, str]
    ) -> None:
        """Combine the models of all routes.

        Args:
            ctx: The context of the main route.
            parts: The backbone and poolers of each route, by route name.
            by_input_type: The route name of each input type; None is the key for calls without an input type.
        """
        nn.Module.__init__(self)
        self.ctx = ctx
        backbones = list(dict.fromkeys(part.backbone for part in parts.values()))
        for number, backbone in enumerate(backbones):
            self.add_module(f"backbone_{number}", backbone)
        sizes = [_hidden_size(backbone) for backbone in backbones]
        self.backbone_of_route = {name: backbones.index(part.backbone) for name, part in parts.items()}
        self.backbones = tuple(backbones)
        hidden_sizes = {name: sizes[number] for name, number in self.backbone_of_route.items()}
        self.poolers = nn.ModuleDict()
        for task in ctx.tasks:
            poolers = {name: part.poolers[task] for name, part in parts.items()}
            self.poolers[task] = RoutedPooler(poolers, hidden_sizes, by_input_type)

    def forward(self, batch: PackedBatch) -> Tensor:
        """Batch -> [num_tokens, hidden]; rows of a backbone with a smaller hidden size are padded with zeros."""
        groups: dict[int, list[int]] = {}  # the indices of the sequences of each backbone
        for index, route in enumerate(batch.routes):
            groups.setdefault(self.backbone_of_route[route], []).append(index)
        if len(groups) == 1:
            (number,) = groups
            whole: Tensor = self.backbones[number](batch)
            return whole
        parts = {number: self.backbones[number](batch.select(indices)) for number, indices in groups.items()}
        hidden_size = max(part.shape[1] for part in parts.values())
        dtype = torch.float32 if len({part.dtype for part in parts.values()}) > 1 else next(iter(parts.values())).dtype
        hidden = torch.zeros(batch.num_tokens, hidden_size, dtype=dtype, device=batch.input_ids.device)
        for number, indices in groups.items():
            hidden[batch.rows_of(indices), : parts[number].shape[1]] = parts[number].to(dtype)
        return hidden


class RoutedPooler(Pooler):
    """Pools each sequence with the pooler of its route."""

    def __init__(
        self, poolers: Mapping[str, nn.Module], hidden_sizes: Mapping[str, int], by_input_type: Mapping[str | None, str]
    ) -> None:
        """Combine the poolers of all routes.

        Args:
            poolers: The pooler of each route.
            hidden_sizes: The hidden size of each route's backbone.
            by_input_type: The route name of each input type.
        """
        nn.Module.__init__(self)
        self.by_route = dict(poolers)
        for number, pooler in enumerate(dict.fromkeys(poolers.values())):
            self.add_module(f"pooler_{number}", pooler)
        self.hidden_sizes, self.by_input_type = dict(hidden_sizes), dict(by_input_type)

    def check(self, params: PoolingParams) -> None:
        """Check the parameters with the pooler of the route."""
        pooler = self.by_route[self._route(params)]
        if isinstance(pooler, Pooler):
            pooler.check(params)

    def forward(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        """[num_tokens, hidden] -> a list of num_seqs tensors, or [num_seqs, dim] if all sequences have one route."""
        groups: dict[str, list[int]] = {}  # the indices of the sequences of each route
        for index, params in enumerate(metadata.params):
            groups.setdefault(self._route(params), []).append(index)
        if len(groups) == 1:
            (route,) = groups
            return self._pooled(route, hidden_states, metadata)
        outputs: list[Tensor] = [hidden_states] * len(metadata.params)
        for route, indices in groups.items():
            rows, selected = metadata.select(indices, [metadata.params[i] for i in indices])
            if metadata.starts:
                selected = replace(selected, starts=tuple(metadata.starts[i] for i in indices))
            pooled = self._pooled(route, hidden_states if rows is None else hidden_states[rows], selected)
            for i, output in zip(indices, pooled, strict=True):
                outputs[i] = output
        return outputs

    def _route(self, params: PoolingParams) -> str:
        return self.by_input_type[RouteOptions.read(params).input_type]

    def _pooled(self, route: str, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        pooled: Tensor | list[Tensor] = self.by_route[route](hidden_states[:, : self.hidden_sizes[route]], metadata)
        return pooled


@torch.inference_mode()
def _hidden_size(backbone: PoolingModel) -> int:
    """The size of a backbone's hidden states, which its config may not specify, measured with one token."""
    token = PackedBatch.pack([torch.zeros(1, dtype=torch.long)], device=backbone.ctx.device)
    return int(backbone(token).shape[1])


def poolers_of(model: PoolingModel, ctx: "ModelContext", tasks: Sequence[str]) -> nn.ModuleDict | None:
    """Build the poolers of another context for a loaded model; None if they have weights that would not be loaded."""
    with torch.device("meta"):
        poolers = nn.ModuleDict({task: model.build_pooler(ctx, task) for task in tasks})
    return None if any(parameter.is_meta for parameter in poolers.parameters()) else poolers
