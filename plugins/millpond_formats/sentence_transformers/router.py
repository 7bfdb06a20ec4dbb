"""Routers: models with separate modules for queries and documents; each route is one chain of modules."""

import ast
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from millpond.model.files import read_object
from millpond.model.spec import ModuleSettings
from millpond.types.errors import CheckpointError
from millpond_formats.sentence_transformers.module import CONFIG_FILES, ROUTER, STATIC_QUERY_WEIGHTS, read_module

logger = logging.getLogger(__name__)
QUERY, DOCUMENT, TEXT = "query", "document", "text"
INPUT_TYPES = (None, QUERY, DOCUMENT)  # None is for calls without an input type


@dataclass(frozen=True, kw_only=True)
class Routes:
    """The routes of a model.

    Attributes:
        chains: The modules of each route, by route name.
        by_input_type: The route of each input type: "query", "document", and None for calls without an input type. An
            input type without a route is absent.
        static_query_weights: The module with one weight per token that embeds queries without a model, or None.
    """

    chains: Mapping[str, tuple[ModuleSettings, ...]]
    by_input_type: Mapping[str | None, str] = field(default_factory=dict)
    static_query_weights: ModuleSettings | None = None

    @property
    def main(self) -> str:
        """The route that represents the model: the default route, else the route of documents, else the first."""
        routes = self.by_input_type
        return next((routes[name] for name in (None, DOCUMENT, QUERY) if name in routes), next(iter(self.chains)))


def read_routes(modules: tuple[ModuleSettings, ...], modules_path: Path) -> Routes:
    """Return the routes of a model; a model without a Router has one route for all inputs.

    Args:
        modules: The modules in modules.json.
        modules_path: The path of modules.json, for errors.

    Raises:
        CheckpointError: If the Router is not supported.
    """
    types = [module.type for module in modules]
    if types == [STATIC_QUERY_WEIGHTS] or types.count(ROUTER) > 1:
        message = (
            f"{modules_path}: unsupported modules {', '.join(types)}. Only one {ROUTER} is supported, and "
            f"{STATIC_QUERY_WEIGHTS} only as its route for queries"
        )
        raise CheckpointError(message)
    if ROUTER not in types:
        return Routes(chains={"": modules}, by_input_type=dict.fromkeys(INPUT_TYPES, ""))
    index = types.index(ROUTER)
    router = modules[index]
    path = router.path / CONFIG_FILES[ROUTER]
    config = router.config or read_object(router.path / "config.json")  # the file name in older versions
    inner = _read_inner(router.path, config, path)
    chains = {name: (*modules[:index], *chain, *modules[index + 1 :]) for name, chain in inner.items()}
    parameters = config.get("parameters")
    routes = _resolved(chains, parameters if isinstance(parameters, Mapping) else {}, path)
    unused = sorted(set(chains) - set(routes.by_input_type.values()))
    if unused:
        logger.warning("%s: the routes %s are not for texts and are not loaded", path, ", ".join(unused))
    return _with_static_queries(routes, path)


def _read_inner(home: Path, config: Mapping[str, Any], path: Path) -> dict[str, tuple[ModuleSettings, ...]]:
    """The modules of each route, without those before and after the Router."""
    types, structure = config.get("types"), config.get("structure")
    lists = structure.values() if isinstance(structure, Mapping) else ()
    if not isinstance(types, Mapping) or not lists or not all(isinstance(names, list) and names for names in lists):
        message = f"{path} must contain 'types' and 'structure', which lists the modules of each route"
        raise CheckpointError(message)
    known = {
        name: read_module(home, {"path": str(name), "type": types.get(name, "")}, path)
        for name in dict.fromkeys(name for names in lists for name in names)
    }
    if any(module.type == ROUTER for module in known.values()):
        message = f"{path} names a {ROUTER} as a module of a route, which is not supported"
        raise CheckpointError(message)
    assert isinstance(structure, Mapping)  # noqa: S101  checked above
    return {str(route): tuple(known[name] for name in names) for route, names in structure.items()}


def _resolved(chains: Mapping[str, tuple[ModuleSettings, ...]], parameters: Mapping[str, Any], path: Path) -> Routes:
    """The route of each input type, with the precedence of sentence-transformers."""
    mappings = _mappings(parameters.get("route_mappings"))
    default = parameters.get("default_route")
    if default is None and parameters.get("allow_empty_key", True):
        default = next(iter(chains))
    routes: dict[str | None, str] = {}
    for input_type in INPUT_TYPES:
        keys = ((input_type, TEXT), (input_type, None), (None, TEXT), (None, None))
        mapped = [mappings.get(key) for key in keys]
        direct = [input_type if input_type in chains else None, TEXT if TEXT in chains else None]
        fallback = [default] if input_type is None else []  # requests with an input type without a route are rejected
        route = next((name for name in (*mapped, *direct, *fallback) if name is not None), None)
        if route is not None:
            routes[input_type] = str(route)
    missing = set(routes.values()) - set(chains)
    if missing or not routes:
        message = f"{path} names the unknown route {missing or default!r}. Available: {', '.join(chains)}"
        raise CheckpointError(message)
    return Routes(chains=chains, by_input_type=routes)


def _mappings(route_mappings: object) -> dict[tuple[object, object], str]:
    """The routes in ``route_mappings``, whose keys are Python tuples (task, modality) as text."""
    mappings: dict[tuple[object, object], str] = {}
    for key, route in route_mappings.items() if isinstance(route_mappings, Mapping) else ():
        try:
            task, modality = ast.literal_eval(str(key))
        except (ValueError, TypeError, SyntaxError):
            logger.warning("route_mappings: ignoring the key %r, which is not a pair of a task and a modality", key)
            continue
        mappings[task, modality] = str(route)
    return mappings


def _with_static_queries(routes: Routes, path: Path) -> Routes:
    """The routes, with static token weights for queries separated from the routes that need a model."""
    static = {name for name, chain in routes.chains.items() if any(it.type == STATIC_QUERY_WEIGHTS for it in chain)}
    if not static:
        return routes
    queries, documents = routes.by_input_type.get(QUERY), routes.by_input_type.get(DOCUMENT)
    chain = routes.chains.get(queries or "", ())
    has_one_module = [module.type for module in chain] == [STATIC_QUERY_WEIGHTS]
    if static != {queries} or documents is None or not has_one_module or set(routes.chains) != {queries, documents}:
        message = (
            f"{path}: unsupported use of {STATIC_QUERY_WEIGHTS}. It must be the only module of the route for queries, "
            "and the only other route must be for documents"
        )
        raise CheckpointError(message)
    by_input_type: dict[str | None, str] = {name: documents for name in INPUT_TYPES}  # noqa: C420  for the key type
    return Routes(
        chains={documents: routes.chains[documents]}, by_input_type=by_input_type, static_query_weights=chain[0]
    )
