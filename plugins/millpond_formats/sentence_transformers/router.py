"""Routers: queries and documents that go through modules of their own, each route as one chain of modules."""

import ast
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from millpond.loading.files import read_object
from millpond.types.checkpoint import ModuleFacts
from millpond.types.errors import CheckpointError
from millpond_formats.sentence_transformers.module import CONFIG_FILES, QUERY_TABLE, ROUTER, read_module

logger = logging.getLogger(__name__)
QUERY, DOCUMENT, TEXT = "query", "document", "text"
INPUT_TYPES = (None, QUERY, DOCUMENT)  # None: a call does not specify it


@dataclass(frozen=True, kw_only=True)
class Routes:
    """The routes that texts can take.

    Attributes:
        chains: The modules of each route, by its name.
        by_input_type: The route of each input type: "query", "document", and None where a call does not specify it. An
            input type without a route is absent.
        static_query_weights: The module with one weight per token that embeds queries without a model; None for none.
    """

    chains: Mapping[str, tuple[ModuleFacts, ...]]
    by_input_type: Mapping[str | None, str] = field(default_factory=dict)
    static_query_weights: ModuleFacts | None = None

    @property
    def main(self) -> str:
        """The route that stands for the model: the default one, else that of documents, else the first."""
        known = self.by_input_type
        return next((known[kind] for kind in (None, DOCUMENT, QUERY) if kind in known), next(iter(self.chains)))


def read_routes(modules: tuple[ModuleFacts, ...], listed: Path) -> Routes:
    """The routes of a model; without a Router, one route for everything.

    Args:
        modules: The modules of modules.json.
        listed: Its path, for errors.

    Raises:
        CheckpointError: If the Router does what is not supported.
    """
    kinds = [module.type for module in modules]
    if kinds == [QUERY_TABLE] or kinds.count(ROUTER) > 1:
        message = (
            f"{listed} names the modules {', '.join(kinds)}: supported is one {ROUTER}; a {QUERY_TABLE} is its route "
            "for queries, beside a model for documents"
        )
        raise CheckpointError(message)
    if ROUTER not in kinds:
        return Routes(chains={"": modules}, by_input_type=dict.fromkeys(INPUT_TYPES, ""))
    place = kinds.index(ROUTER)
    router = modules[place]
    path = router.path / CONFIG_FILES[ROUTER]
    said = router.config or read_object(router.path / "config.json")  # as it was called before Router was Asym
    inner = _read_inner(router.path, said, path)
    chains = {name: (*modules[:place], *chain, *modules[place + 1 :]) for name, chain in inner.items()}
    parameters = said.get("parameters")
    routes = _resolved(chains, parameters if isinstance(parameters, Mapping) else {}, path)
    unused = sorted(set(chains) - set(routes.by_input_type.values()))
    if unused:
        logger.warning("%s: the routes %s are for other inputs than texts, and not loaded", path, ", ".join(unused))
    return _with_table(routes, path)


def _read_inner(home: Path, said: Mapping[str, Any], path: Path) -> dict[str, tuple[ModuleFacts, ...]]:
    """The modules of each route, without those before and after the Router."""
    types, structure = said.get("types"), said.get("structure")
    lists = structure.values() if isinstance(structure, Mapping) else ()
    if not isinstance(types, Mapping) or not lists or not all(isinstance(names, list) and names for names in lists):
        message = f"{path} should hold 'types', and 'structure' with the modules of each route"
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


def _resolved(chains: Mapping[str, tuple[ModuleFacts, ...]], parameters: Mapping[str, Any], path: Path) -> Routes:
    """The route of each input type, in the order in which sentence-transformers looks for it."""
    mappings = _mappings(parameters.get("route_mappings"))
    default = parameters.get("default_route")
    if default is None and parameters.get("allow_empty_key", True):
        default = next(iter(chains))
    found: dict[str | None, str] = {}
    for kind in INPUT_TYPES:
        asked = [mappings.get(key) for key in ((kind, TEXT), (kind, None), (None, TEXT), (None, None))]
        direct = [kind if kind in chains else None, TEXT if TEXT in chains else None]
        last = [default] if kind is None else []  # a task that has no route is refused
        route = next((name for name in (*asked, *direct, *last) if name is not None), None)
        if route is not None:
            found[kind] = str(route)
    missing = set(found.values()) - set(chains)
    if missing or not found:
        message = f"{path} names the route {missing or default!r}, and has the routes {', '.join(chains)}"
        raise CheckpointError(message)
    return Routes(chains=chains, by_input_type=found)


def _mappings(said: object) -> dict[tuple[object, object], str]:
    """``route_mappings``: keys are tuples of a task and a modality, written as text."""
    found: dict[tuple[object, object], str] = {}
    for key, route in said.items() if isinstance(said, Mapping) else ():
        try:
            task, modality = ast.literal_eval(str(key))
        except (ValueError, TypeError, SyntaxError):
            logger.warning("route_mappings: the key %r is not a pair of a task and a modality, and is ignored", key)
            continue
        found[task, modality] = str(route)
    return found


def _with_table(routes: Routes, path: Path) -> Routes:
    """The routes where that of queries may be a table of weights, which needs no model."""
    tables = {name for name, chain in routes.chains.items() if any(it.type == QUERY_TABLE for it in chain)}
    if not tables:
        return routes
    queries, documents = routes.by_input_type.get(QUERY), routes.by_input_type.get(DOCUMENT)
    chain = routes.chains.get(queries or "", ())
    alone = [module.type for module in chain] == [QUERY_TABLE] and set(routes.chains) == {queries, documents}
    if tables != {queries} or documents is None or not alone:
        message = (
            f"{path} routes texts through {QUERY_TABLE} and others; supported is {QUERY_TABLE} alone for queries, "
            "beside a route for documents"
        )
        raise CheckpointError(message)
    everything: dict[str | None, str] = {kind: documents for kind in INPUT_TYPES}  # noqa: C420  its keys may be any text
    return Routes(chains={documents: routes.chains[documents]}, by_input_type=everything, static_query_weights=chain[0])
