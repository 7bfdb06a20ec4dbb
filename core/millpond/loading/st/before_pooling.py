"""What a folder applies to the vectors of tokens before they are pooled, as a hook behind the model."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import Tensor, nn

from millpond.types.errors import CheckpointError
from millpond_formats.sentence_transformers.cnn import load_cnn
from millpond_formats.sentence_transformers.dense import load_dense
from millpond_formats.sentence_transformers.layer_pooling import load_layer_mean
from millpond_formats.sentence_transformers.module import CNN, LAYER_POOLING, Module

if TYPE_CHECKING:
    from millpond.context import Context
    from millpond.nn.batch import PackedBatch

Step: TypeAlias = "Callable[[Tensor, PackedBatch], Tensor]"


def add_modules(ctx: "Context", model: nn.Module, modules: tuple[Module, ...], *, allow_pickle: bool) -> None:
    """Have a model's hidden states go through the modules before Pooling.

    Args:
        ctx: The model's context.
        model: The model, with its weights.
        modules: The modules, in order.
        allow_pickle: Whether weights may be pickled.

    Raises:
        CheckpointError: If the weights of one do not fit, or the order is not supported.
    """
    steps: list[Step] = []
    for place, module in enumerate(modules):
        if module.type == LAYER_POOLING and place:
            message = f"{module.path}: WeightedLayerPooling is supported as the first module after the transformer"
            raise CheckpointError(message)
        step = _step(ctx.for_head(), model, module, allow_pickle=allow_pickle)
        steps += [] if step is None else [step]
    if steps:
        model.register_forward_hook(_applying(steps))


def _step(ctx: "Context", model: nn.Module, module: Module, *, allow_pickle: bool) -> "Step | None":
    if module.type == LAYER_POOLING:
        return load_layer_mean(ctx, module, model, allow_pickle=allow_pickle)
    if module.type == CNN:
        return load_cnn(ctx, module, allow_pickle=allow_pickle)
    return OnTokens(load_dense(ctx, module, allow_pickle))


class OnTokens:
    """A module of rows, applied to the vectors of tokens."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, x: Tensor, batch: "PackedBatch") -> Tensor:
        """[num_tokens, hidden] -> [num_tokens, out_features]."""
        del batch
        mapped: Tensor = self.module(x.float())
        return mapped


def _applying(steps: list[Step]) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]:
    def applied(_: nn.Module, given: tuple[Any, ...], hidden_states: Tensor) -> Tensor:
        for step in steps:
            hidden_states = step(hidden_states, given[0])
        return hidden_states

    return applied
