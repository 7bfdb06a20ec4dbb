"""The WeightedLayerPooling module of sentence-transformers: a weighted mean of layers, before Pooling."""

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from millpond.loading.module_weights import ModuleWeights
from millpond.types.errors import CheckpointError
from millpond_formats.sentence_transformers.module import Module

if TYPE_CHECKING:
    from millpond.context import Context
    from millpond.nn.batch import PackedBatch

logger = logging.getLogger(__name__)
WEIGHTS, FIRST = "layer_weights", 4  # the first layer that counts where its config does not specify it
SHOWS_LAYERS = "output_hidden_states"  # of config.json: without it, sentence-transformers passes the module over


class LayerMean:
    """The mean of what the layers of a model compute, by weights; 0 is what the first layer takes.

    It listens to the layers and adds up what they return, in each thread on its own: workers share a model.
    """

    def __init__(self, shares: list[float], first: int, layers: nn.ModuleList) -> None:
        self.shares = dict(enumerate(shares, start=first))
        self.last = len(layers)
        self._own = threading.local()
        layers[0].register_forward_pre_hook(self._begin)
        for number in range(1, len(layers)):
            layers[number - 1].register_forward_hook(partial(self._add, number))

    def __call__(self, hidden_states: Tensor, batch: "PackedBatch") -> Tensor:
        """What the model computes, [num_tokens, hidden] -> the mean over its layers, [num_tokens, hidden]."""
        del batch
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


def load_layer_mean(ctx: "Context", module: Module, model: nn.Module, *, allow_pickle: bool) -> LayerMean | None:
    """The module with its weights, listening to a model; None where sentence-transformers passes it over.

    Raises:
        CheckpointError: If its weights do not fit the model's layers, or these cannot be told apart.
    """
    if not ctx.config.get(SHOWS_LAYERS):
        message = "%s has no effect: config.json has no %s=true, and sentence-transformers passes it over too"
        logger.warning(message, module.path, SHOWS_LAYERS)
        return None
    layers = getattr(model, "layers", None)
    if not isinstance(layers, nn.ModuleList):
        message = f"{module.path}: the layers of {ctx.model.architecture} cannot be told apart by Millpond"
        raise CheckpointError(message)
    first = module.config.get("layer_start", FIRST)
    if not isinstance(first, int) or not 0 <= first <= len(layers):
        message = f"{module.path}: layer_start must be 0 to {len(layers)}, the layers of the model; got {first!r}"
        raise CheckpointError(message)
    tensors = ModuleWeights(module, ctx.device, allow_pickle=allow_pickle)
    weights = tensors.get(WEIGHTS, [len(layers) + 1 - first])
    return LayerMean((weights / weights.sum()).tolist(), first, layers)
