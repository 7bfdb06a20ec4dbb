"""Models whose queries and documents take different routes: each route is loaded, and all are put together as one."""

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from millpond.nn.routed import RoutedModel, RouteParts, poolers_of
from millpond.types.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond.context import Context
    from millpond.loading.build import LoadedModel
    from millpond.loading.resolution import Resolution

logger = logging.getLogger(__name__)
TASKS = ("embed", "token_embed")  # those that texts of several routes have


@dataclass(frozen=True)
class RouteBuilder:
    """Builds what a route needs; given by who builds models.

    Attributes:
        resolve: The resolution of a route, by its name.
        context: The context of a resolution.
        model: The model of a resolution.
    """

    resolve: "Callable[[str], Resolution]"
    context: "Callable[[Resolution], Context]"
    model: "Callable[[Resolution], LoadedModel]"


def with_routes(main: "LoadedModel", builder: RouteBuilder) -> "LoadedModel":
    """A model of several routes, made of that of its main route.

    Raises:
        CheckpointError: If a route makes something else than vectors of texts, or of another size than the main one.
    """
    facts = main.resolution.facts.retrieval.routes
    names, own = facts.by_input_type, facts.main
    parts = {own: RouteParts(main.model, main.model.poolers)}
    contexts = {own: main.context}
    _check(main.resolution, main.resolution)
    for name in dict.fromkeys(names.values()):
        if name in parts:
            continue
        resolution = builder.resolve(name)
        _check(resolution, main.resolution)
        parts[name], contexts[name] = _part(main, resolution, builder)
    tasks = tuple(task for task in TASKS if all(task in ctx.tasks for ctx in contexts.values()))
    kinds = tuple(kind for kind in names if kind is not None)
    config = replace(main.config, tasks=tasks, retrieval=replace(main.config.retrieval, routes=kinds))
    routes = {kind: (name, contexts[name]) for kind, name in names.items()}
    ctx = replace(main.context, model=config, routes=routes)
    logger.info("%s: queries and documents take the routes %s", config.model, ", ".join(parts))
    return replace(main, model=RoutedModel(ctx, parts, names).eval(), config=config, context=ctx)


def _part(main: "LoadedModel", resolution: "Resolution", builder: RouteBuilder) -> "tuple[RouteParts, Context]":
    """What computes a route: the model of the main one with poolers of its own where both share their weights."""
    ours, theirs = main.resolution.repository, resolution.repository
    same = ours.transformer_path == theirs.transformer_path
    if same and ours.facts.modules.before == theirs.facts.modules.before:
        ctx = builder.context(resolution)
        poolers = poolers_of(main.model, ctx, ctx.tasks)
        if poolers is not None:
            return RouteParts(main.model, poolers), ctx
    built = builder.model(resolution)
    return RouteParts(built.model, built.model.poolers), built.context


def _check(resolution: "Resolution", main: "Resolution") -> None:
    """Refuse a route that does not make vectors of texts, or vectors that cannot be compared with those of another."""
    facts, routes = resolution.facts, main.facts.retrieval.routes
    name = resolution.repository.route or routes.main
    where = f"{resolution.repository.path / routes.origin}: the route {name!r}"
    if "embed" not in resolution.tasks or resolution.sparse is not None or not facts.pooling_types:
        message = (
            f"{where} goes through {', '.join(module.type for module in facts.modules.listed)}: supported are routes "
            "of a transformer or a StaticEmbedding and Pooling, which make one dense vector of a text"
        )
        raise CheckpointError(message)
    size, expected = resolution.embedding_size, main.embedding_size
    if size != expected:
        message = (
            f"{where} makes vectors of {size} dimensions, and the route {routes.main!r} of {expected}: they "
            "cannot be compared"
        )
        raise CheckpointError(message)
