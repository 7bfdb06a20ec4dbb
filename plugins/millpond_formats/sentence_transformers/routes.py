"""Builds the routes of a model with separate routes for queries and documents, and combines them into one model."""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from millpond.model.resolve import read_route
from millpond.types.errors import CheckpointError
from millpond_formats.sentence_transformers.routed_model import RoutedModel, RouteParts, poolers_of

if TYPE_CHECKING:
    from millpond.context import Context
    from millpond.loading.arguments import Arguments
    from millpond.loading.build import LoadedModel
    from millpond.model.model_layers import ModelLayers
    from millpond.model.spec import RouteSettings

logger = logging.getLogger(__name__)
PATH = "files.routes"
TASKS = ("embed", "token_embed")  # the tasks that a model with routes supports


def with_routes(main: "LoadedModel", arguments: "Arguments", *, with_weights: bool) -> "LoadedModel":
    """Build a model with several routes from the loaded model of its main route.

    Args:
        main: The loaded model.
        arguments: The arguments of ``LLM``.
        with_weights: True to load the weights of the other routes.

    Raises:
        CheckpointError: If a route does not return vectors of the kind and size of the main route.
    """
    stated: RouteSettings = main.layers.get(PATH)
    names, main_name = stated.by_input_type, stated.main
    parts = {main_name: RouteParts(main.model, main.model.poolers)}
    contexts = {main_name: main.context}
    _check(main.layers, main.layers)
    for name in dict.fromkeys(names.values()):
        if name in parts:
            continue
        layers = read_route(main.layers, name, arguments.load)
        _check(layers, main.layers)
        parts[name], contexts[name] = _part(main, layers, arguments, with_weights=with_weights)
    tasks = tuple(task for task in TASKS if all(task in ctx.tasks for ctx in contexts.values()))
    input_types = tuple(input_type for input_type in names if input_type is not None)
    model = main.context.model
    model = replace(model, tasks=tasks, retrieval=replace(model.retrieval, routes=input_types))
    routes = {input_type: (name, contexts[name]) for input_type, name in names.items()}
    ctx = replace(main.context, model=model, routes=routes)
    logger.info("%s: queries and documents use the routes %s", model.model, ", ".join(parts))
    return replace(main, model=RoutedModel(ctx, parts, names).eval(), context=ctx)


def _part(
    main: "LoadedModel", layers: "ModelLayers", arguments: "Arguments", *, with_weights: bool
) -> "tuple[RouteParts, Context]":
    """The model and poolers of a route; a route with the main route's weights shares its model."""
    from millpond.loading.build import build_context, build_model  # noqa: PLC0415  imports this module

    device = main.context.device
    same_weights = main.layers.repository.transformer_path == layers.repository.transformer_path
    if same_weights and main.layers.model.modules.before == layers.model.modules.before:
        ctx = build_context(layers, arguments, device)
        poolers = poolers_of(main.model, ctx, ctx.tasks)
        if poolers is not None:
            return RouteParts(main.model, poolers), ctx
    built = build_model(layers, arguments, device, with_weights=with_weights)
    return RouteParts(built.model, built.model.poolers), built.context


def _check(layers: "ModelLayers", main: "ModelLayers") -> None:
    """Reject a route that does not return one vector per text, or vectors of another kind or size."""
    routes: RouteSettings = main.get(PATH)
    name = layers.repository.route or routes.main
    where = f"{layers.repository.path / routes.origin}: the route {name!r}"
    of_route, of_main = layers.model.embedding, main.model.embedding
    is_same_kind = of_route.sparse == of_main.sparse and of_route.sparse in (None, "tokens")
    pools = layers.repository.layers.find("pooler_config.seq_pooling_type") is not None
    if "embed" not in layers.tasks or not is_same_kind or not pools:
        message = (
            f"{where} consists of {', '.join(module.type for module in layers.model.modules.listed)}. Supported routes "
            "consist of a transformer or a StaticEmbedding, and Pooling, and return one dense vector per text; or all "
            "consist of a masked language model and SpladePooling"
        )
        raise CheckpointError(message)
    size, expected = of_route.size, of_main.size
    if size != expected:
        message = (
            f"{where} returns vectors of {size} dimensions, but the route {routes.main!r} returns {expected}: they "
            "cannot be compared"
        )
        raise CheckpointError(message)
