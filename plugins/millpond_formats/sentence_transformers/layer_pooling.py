"""The WeightedLayerPooling module of sentence-transformers: a weighted mean of layers, before Pooling."""

import logging
import threading
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from millpond.nn.post_pooling import TokenModule
from millpond.types.errors import CheckpointError

if TYPE_CHECKING:
    from millpond.context import Context
    from millpond.loading.weights import ModuleWeights
    from millpond.nn.batch import PackedBatch

logger = logging.getLogger(__name__)
WEIGHTS, FIRST = "layer_weights", 4  # the first layer that counts where its config does not specify it
SHOWS_LAYERS = "output_hidden_states"  # of config.json: without it, sentence-transformers passes the module over


class LayerMean(TokenModule):
    """The mean of what the layers of a model compute, by weights; 0 is what the first layer takes.

    It listens to the layers and adds up what they return, in each thread on its own: workers share a model.
    """

    def __init__(self, ctx: "Context", config: Mapping[str, Any], weights: "ModuleWeights") -> None:
        super().__init__()
        self.first, self.weights, self.model_name = config.get("layer_start", FIRST), weights, ctx.model.architecture
        self.has_effect = bool(ctx.config.get(SHOWS_LAYERS))
        self.shares: Mapping[int, float] = {}
        self.last = 0
        self._own = threading.local()

    def attach(self, model: nn.Module) -> None:
        """Listen to the layers of a model, unless sentence-transformers passes the module over.

        Raises:
            CheckpointError: If its weights do not fit the model's layers, or these cannot be told apart.
        """
        folder = self.weights.folder
        if not self.has_effect:
            message = "%s has no effect: config.json has no %s=true, and sentence-transformers passes it over too"
            logger.warning(message, folder, SHOWS_LAYERS)
            return
        layers = getattr(model, "layers", None)
        if not isinstance(layers, nn.ModuleList):
            message = f"{folder}: the layers of {self.model_name} cannot be told apart by Millpond"
            raise CheckpointError(message)
        if not isinstance(self.first, int) or not 0 <= self.first <= len(layers):
            message = f"{folder}: layer_start must be 0 to {len(layers)}, the layers of the model; got {self.first!r}"
            raise CheckpointError(message)
        weights = self.weights.get(WEIGHTS, [len(layers) + 1 - self.first])
        self.shares = dict(enumerate((weights / weights.sum()).tolist(), start=self.first))
        self.last = len(layers)
        layers[0].register_forward_pre_hook(self._begin)
        for number in range(1, len(layers)):
            layers[number - 1].register_forward_hook(partial(self._add, number))

    def forward(self, hidden_states: Tensor, batch: "PackedBatch") -> Tensor:
        """What the model computes, [num_tokens, hidden] -> the mean over its layers, [num_tokens, hidden]."""
        del batch
        if not self.has_effect:
            return hidden_states
        total: Tensor | None = self._own.total
        own = hidden_states.float() * self.shares[self.last]
        self._own.total = None
        return own if total is None else total + own

    def _begin(self, _: nn.Module, given: tuple[Any, ...]) -> None:
        self._own.total = given[0].float() * self.shares[0] if 0 in self.shares else None

    def _add(self, number: int, _: nn.Module, given: object, output: Tensor) -> None:
        del given
        if number in self.shares:
            own, total = output.float() * self.shares[number], self._own.total
            self._own.total = own if total is None else total + own


def load_layer_mean(ctx: "Context", config: Mapping[str, Any], weights: "ModuleWeights") -> LayerMean:
    """The module; its weights are read when it is attached to the model."""
    return LayerMean(ctx, config, weights)
