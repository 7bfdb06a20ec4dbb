"""RoutedModel: queries and documents through models of their own, or through one model and poolers of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from millpond.nn.batch import PackedBatch, PoolingMetadata
from millpond.nn.model import PoolingModel
from millpond.nn.pooler import Pooler
from millpond.types.params import PoolingParams

if TYPE_CHECKING:
    from millpond.context import ModelContext

INPUT_TYPE = "input_type"  # in ``extra_kwargs`` of a sequence's parameters: it decides the route


@dataclass(frozen=True, eq=False)
class RouteParts:
    """What computes the texts of one route.

    Attributes:
        backbone: The model before pooling; routes may share one.
        poolers: The pooler of each task.
    """

    backbone: PoolingModel
    poolers: nn.ModuleDict


class RoutedModel(PoolingModel):
    """Computes each sequence by the backbone of its route, and pools it by the pooler of that route."""

    def __init__(
        self, ctx: "ModelContext", parts: Mapping[str, RouteParts], by_input_type: Mapping[str | None, str]
    ) -> None:
        """Put the models of all routes together.

        Args:
            ctx: The context of the main route.
            parts: What computes each route, by its name.
            by_input_type: The route of each input type.
        """
        nn.Module.__init__(self)
        self.ctx = ctx
        backbones = list(dict.fromkeys(part.backbone for part in parts.values()))
        for number, backbone in enumerate(backbones):
            self.add_module(f"backbone_{number}", backbone)
        widths = [_width(backbone) for backbone in backbones]
        self.numbers = {name: backbones.index(part.backbone) for name, part in parts.items()}
        self.backbones = tuple(backbones)
        of_route = {name: widths[number] for name, number in self.numbers.items()}
        self.poolers = nn.ModuleDict(
            {
                task: RoutedPooler({name: part.poolers[task] for name, part in parts.items()}, of_route, by_input_type)
                for task in ctx.tasks
            }
        )

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch -> [num_tokens, hidden]; rows of a narrower backbone end with zeros."""
        places: dict[int, list[int]] = {}
        for place, route in enumerate(batch.routes):
            places.setdefault(self.numbers[route], []).append(place)
        if len(places) == 1:
            (number,) = places
            found: Tensor = self.backbones[number](batch)
            return found
        parts = {number: self.backbones[number](batch.select(own)) for number, own in places.items()}
        width = max(part.shape[1] for part in parts.values())
        dtype = torch.float32 if len({part.dtype for part in parts.values()}) > 1 else next(iter(parts.values())).dtype
        hidden = torch.zeros(batch.num_tokens, width, dtype=dtype, device=batch.input_ids.device)
        for number, own in places.items():
            hidden[batch.rows_of(own), : parts[number].shape[1]] = parts[number].to(dtype)
        return hidden


class RoutedPooler(Pooler):
    """Pools each sequence by the pooler of its route."""

    def __init__(
        self, poolers: Mapping[str, nn.Module], widths: Mapping[str, int], by_input_type: Mapping[str | None, str]
    ) -> None:
        nn.Module.__init__(self)
        self.of_route = dict(poolers)
        for number, pooler in enumerate(dict.fromkeys(poolers.values())):
            self.add_module(f"pooler_{number}", pooler)
        self.widths, self.by_input_type = dict(widths), dict(by_input_type)

    def check(self, params: PoolingParams) -> None:
        """Refuse what the pooler of the route refuses."""
        pooler = self.of_route[self._route(params)]
        if isinstance(pooler, Pooler):
            pooler.check(params)

    def forward(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        """[num_tokens, hidden] -> a list of num_seqs tensors, or [num_seqs, dim] where all take one route."""
        places: dict[str, list[int]] = {}
        for place, params in enumerate(metadata.params):
            places.setdefault(self._route(params), []).append(place)
        if len(places) == 1:
            (route,) = places
            return self._pooled(route, hidden_states, metadata)
        found: list[Tensor] = [hidden_states] * len(metadata.params)
        for route, own in places.items():
            rows, chosen = metadata.select(own, [metadata.params[place] for place in own])
            if metadata.starts:
                chosen = replace(chosen, starts=tuple(metadata.starts[place] for place in own))
            pooled = self._pooled(route, hidden_states if rows is None else hidden_states[rows], chosen)
            for place, result in zip(own, pooled, strict=True):
                found[place] = result
        return found

    def _route(self, params: PoolingParams) -> str:
        kind = (params.extra_kwargs or {}).get(INPUT_TYPE)
        return self.by_input_type[kind if isinstance(kind, str) else None]

    def _pooled(self, route: str, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        pooled: Tensor | list[Tensor] = self.of_route[route](hidden_states[:, : self.widths[route]], metadata)
        return pooled


@torch.inference_mode()
def _width(backbone: PoolingModel) -> int:
    """The dimensions of what a backbone computes, which its config may not specify: those of one token."""
    token = PackedBatch.pack([torch.zeros(1, dtype=torch.long)], device=backbone.ctx.device)
    return int(backbone(token).shape[1])


def poolers_of(model: PoolingModel, ctx: "ModelContext", tasks: Sequence[str]) -> nn.ModuleDict | None:
    """Poolers of another context for the hidden states of a model; None if they have weights that are not there."""
    with torch.device("meta"):
        found = nn.ModuleDict({task: model.build_pooler(ctx, task) for task in tasks})
    return None if any(parameter.is_meta for parameter in found.parameters()) else found
