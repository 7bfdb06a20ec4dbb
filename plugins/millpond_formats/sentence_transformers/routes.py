"""Builds the routes of a model with separate routes for queries and documents, and combines them into one model."""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from millpond.types.errors import CheckpointError
from millpond_formats.sentence_transformers.routed_model import RoutedModel, RouteParts, poolers_of

if TYPE_CHECKING:
    from millpond.context import Context
    from millpond.loading.build import LoadedModel, RouteBuilder
    from millpond.loading.resolution import Resolution

logger = logging.getLogger(__name__)
TASKS = ("embed", "token_embed")  # the tasks that a model with routes supports


def with_routes(main: "LoadedModel", builder: "RouteBuilder") -> "LoadedModel":
    """Build a model with several routes from the loaded model of its main route.

    Raises:
        CheckpointError: If a route does not return vectors of the kind and size of the main route.
    """
    facts = main.resolution.facts.retrieval.routes
    names, main_name = facts.by_input_type, facts.main
    parts = {main_name: RouteParts(main.model, main.model.poolers)}
    contexts = {main_name: main.context}
    _check(main.resolution, main.resolution)
    for name in dict.fromkeys(names.values()):
        if name in parts:
            continue
        resolution = builder.resolve(name)
        _check(resolution, main.resolution)
        parts[name], contexts[name] = _part(main, resolution, builder)
    tasks = tuple(task for task in TASKS if all(task in ctx.tasks for ctx in contexts.values()))
    input_types = tuple(input_type for input_type in names if input_type is not None)
    config = replace(main.config, tasks=tasks, retrieval=replace(main.config.retrieval, routes=input_types))
    routes = {input_type: (name, contexts[name]) for input_type, name in names.items()}
    ctx = replace(main.context, model=config, routes=routes)
    logger.info("%s: queries and documents use the routes %s", config.model, ", ".join(parts))
    return replace(main, model=RoutedModel(ctx, parts, names).eval(), config=config, context=ctx)


def _part(main: "LoadedModel", resolution: "Resolution", builder: "RouteBuilder") -> "tuple[RouteParts, Context]":
    """The model and poolers of a route; a route with the main route's weights shares its model."""
    main_files, files = main.resolution.repository, resolution.repository
    same_weights = main_files.transformer_path == files.transformer_path
    if same_weights and main_files.facts.modules.before == files.facts.modules.before:
        ctx = builder.context(resolution)
        poolers = poolers_of(main.model, ctx, ctx.tasks)
        if poolers is not None:
            return RouteParts(main.model, poolers), ctx
    built = builder.model(resolution)
    return RouteParts(built.model, built.model.poolers), built.context


def _check(resolution: "Resolution", main: "Resolution") -> None:
    """Reject a route that does not return one vector per text, or vectors of another kind or size."""
    facts, routes = resolution.facts, main.facts.retrieval.routes
    name = resolution.repository.route or routes.main
    where = f"{resolution.repository.path / routes.origin}: the route {name!r}"
    is_same_kind = resolution.sparse == main.sparse and resolution.sparse in (None, "tokens")
    if "embed" not in resolution.tasks or not is_same_kind or not facts.pooling_types:
        message = (
            f"{where} consists of {', '.join(module.type for module in facts.modules.listed)}. Supported routes "
            "consist of a transformer or a StaticEmbedding, and Pooling, and return one dense vector per text; or all "
            "consist of a masked language model and SpladePooling"
        )
        raise CheckpointError(message)
    size, expected = resolution.embedding_size, main.embedding_size
    if size != expected:
        message = (
            f"{where} returns vectors of {size} dimensions, but the route {routes.main!r} returns {expected}: they "
            "cannot be compared"
        )
        raise CheckpointError(message)
