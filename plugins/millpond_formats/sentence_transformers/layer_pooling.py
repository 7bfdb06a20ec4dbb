"""The WeightedLayerPooling module of sentence-transformers: a weighted mean of the layers, before Pooling."""

import logging
import threading
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from millpond.nn import TokenModule
from millpond.types.errors import CheckpointError

if TYPE_CHECKING:
    from millpond.context import Context
    from millpond.loading.weights import ModuleWeights
    from millpond.nn import PackedBatch

logger = logging.getLogger(__name__)
WEIGHTS_KEY = "layer_weights"
DEFAULT_LAYER_START = 4
HIDDEN_STATES_KEY = "output_hidden_states"  # of config.json: without it, sentence-transformers ignores the module


class WeightedLayerPooling(TokenModule):
    """The weighted mean of the outputs of a model's layers; layer 0 is the input of the first layer.

    Hooks on the layers accumulate their outputs, separately in each thread, since workers share a model.
    """

    def __init__(self, ctx: "Context", config: Mapping[str, Any], weights: "ModuleWeights") -> None:
        super().__init__()
        self.first, self.weights, self.model_name = (
            config.get("layer_start", DEFAULT_LAYER_START),
            weights,
            ctx.model.architecture,
        )
        self.has_effect = bool(ctx.config.get(HIDDEN_STATES_KEY))
        self.layer_weights: Mapping[int, float] = {}
        self.last = 0
        self._local = threading.local()

    def attach(self, model: nn.Module) -> None:
        """Register hooks on the layers of a model, unless sentence-transformers would ignore the module.

        Raises:
            CheckpointError: If the weights do not match the model's layers, or the model has no list of layers.
        """
        folder = self.weights.folder
        if not self.has_effect:
            message = "%s has no effect, like in sentence-transformers: config.json has no %s=true"
            logger.warning(message, folder, HIDDEN_STATES_KEY)
            return
        layers = getattr(model, "layers", None)
        if not isinstance(layers, nn.ModuleList):
            message = f"{folder}: {self.model_name} does not provide the outputs of its layers"
            raise CheckpointError(message)
        if not isinstance(self.first, int) or not 0 <= self.first <= len(layers):
            message = f"{folder}: layer_start must be 0 to {len(layers)}, the layers of the model; got {self.first!r}"
            raise CheckpointError(message)
        weights = self.weights.get(WEIGHTS_KEY, [len(layers) + 1 - self.first])
        self.layer_weights = dict(enumerate((weights / weights.sum()).tolist(), start=self.first))
        self.last = len(layers)
        layers[0].register_forward_pre_hook(self._begin)
        for number in range(1, len(layers)):
            layers[number - 1].register_forward_hook(partial(self._add, number))

    def forward(self, hidden_states: Tensor, batch: "PackedBatch") -> Tensor:
        """The model's output [num_tokens, hidden] -> the mean over its layers [num_tokens, hidden]."""
        del batch
        if not self.has_effect:
            return hidden_states
        total: Tensor | None = self._local.total
        weighted = hidden_states.float() * self.layer_weights[self.last]
        self._local.total = None
        return weighted if total is None else total + weighted

    def _begin(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._local.total = inputs[0].float() * self.layer_weights[0] if 0 in self.layer_weights else None

    def _add(self, number: int, _: nn.Module, inputs: object, output: Tensor) -> None:
        del inputs
        if number in self.layer_weights:
            weighted, total = output.float() * self.layer_weights[number], self._local.total
            self._local.total = weighted if total is None else total + weighted


def load_weighted_layer_pooling(
    ctx: "Context", config: Mapping[str, Any], weights: "ModuleWeights"
) -> WeightedLayerPooling:
    """Build the module; its weights are read when it is attached to the model."""
    return WeightedLayerPooling(ctx, config, weights)
