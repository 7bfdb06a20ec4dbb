"""Builds the modules of a checkpoint before and after pooling from the records of plugins."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from millpond.loading.weights import ModuleWeights
from millpond.nn.model import TokenModule
from millpond.plugin.blame import blamed_plugin, breach, described, mark
from millpond.types.errors import CheckpointError

if TYPE_CHECKING:
    from millpond.context import Context
    from millpond.model.spec import ModuleSettings
    from millpond.nn.model import PoolingModel


def load_module(ctx: "Context", module: "ModuleSettings", *, allow_pickle: bool = False) -> nn.Module:
    """Load a module with its weights, in float32.

    Raises:
        UnknownNameError: If no plugin builds modules of its type.
        CheckpointError: If its weights are missing or do not match its config.
        ComponentError: If the target of a plugin fails.
    """
    ctx, entry = ctx.for_head(), ctx.registry.modules.get(module.type)
    weights = ModuleWeights(module, ctx.device, allow_pickle=allow_pickle)
    with blamed_plugin(entry, "failed in target(ctx, config, weights)"):
        built = entry.load()(ctx, module.config, weights)
    if not isinstance(built, nn.Module):
        raise breach(entry, f"target(ctx, config, weights) returned {described(built)}; expected a torch.nn.Module")
    mark(built, entry)
    return built


def load_after_pooling(ctx: "Context", modules: "Sequence[ModuleSettings]", *, allow_pickle: bool) -> "Context":
    """Return the context with the loaded modules after pooling.

    Raises:
        CheckpointError: If the input size of a module differs from the output size of the previous one.
    """
    rows: list[nn.Module] = []
    sparse: Any = None
    width: int | None = None
    for module in modules:
        layer: Any = load_module(ctx, module, allow_pickle=allow_pickle)
        in_features = getattr(layer, "in_features", None)
        if width is not None and in_features is not None and width != in_features:
            message = f"{module.path} expects {in_features} dimensions, but the previous Dense module returns {width}"
            raise CheckpointError(message)
        width = getattr(layer, "out_features", width)
        if ctx.registry.modules.get(module.type).spec.sparse:
            sparse = layer
        else:
            rows.append(layer)
    return replace(ctx, rows_after_pooling=nn.Sequential(*rows) if rows else None, sparse_after_pooling=sparse)


def add_before_pooling(
    ctx: "Context", model: "PoolingModel", modules: "Sequence[ModuleSettings]", *, allow_pickle: bool
) -> None:
    """Apply the modules before pooling to a model's hidden states, by a forward hook.

    Args:
        ctx: The model's context.
        model: The model, with its weights.
        modules: The modules, in order.
        allow_pickle: True if weights may be pickled.

    Raises:
        CheckpointError: If the weights of a module do not match its config.
    """
    steps = [load_module(ctx, module, allow_pickle=allow_pickle) for module in modules]
    model.token_modules = tuple(step for step in steps if isinstance(step, TokenModule))
    for step in model.token_modules:
        step.attach(model)
    if steps:
        model.register_forward_hook(_applying(steps))


def _applying(steps: Sequence[nn.Module]) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]:
    def apply(_: nn.Module, inputs: tuple[Any, ...], hidden_states: Tensor) -> Tensor:
        for step in steps:
            reads_batch = isinstance(step, TokenModule)
            hidden_states = step(hidden_states, inputs[0]) if reads_batch else step(hidden_states.float())
        return hidden_states

    return apply
