"""Finds installed plugins by their entry points, without importing them."""

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING

import importlib_metadata

from millpond.plugin.hookspecs import PROJECT
from millpond.plugin.registry import PRECEDENCE, Origin, Rank
from millpond.types.errors import PluginError

if TYPE_CHECKING:
    from importlib_metadata import IDistribution

logger = getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """An installed plugin that is not imported yet."""

    origin: Origin
    load: Callable[[], object]


def candidates() -> list[Candidate]:
    """Return the entry points of the group, built-in plugins first, sorted by distribution and name."""
    plugins = [candidate for distribution in _distributions() for candidate in _candidates_of(distribution)]
    return sorted(plugins, key=lambda it: (PRECEDENCE.index(it.origin.rank), it.origin.distribution, it.origin.plugin))


def _distributions() -> "Iterator[IDistribution]":
    """Yield the distributions with entry points of the group; the first of duplicates is used, as in imports."""
    # sys.path names a zip file of the standard library that usually does not exist; reading it would import zipp.
    folders = [entry for entry in sys.path if Path(entry).exists()]
    seen: set[str] = set()
    for distribution in importlib_metadata.distributions(path=folders):
        text = _text(distribution, "entry_points.txt")
        if f"[{PROJECT}]" in text:  # other distributions are not parsed: they are not needed, and may be damaged
            key = _canonical(_headers(distribution).get("Name", "")) or text
            if key not in seen:
                seen.add(key)
                yield distribution


def _candidates_of(distribution: "IDistribution") -> list[Candidate]:
    headers = _headers(distribution)
    name, version = headers.get("Name", ""), headers.get("Version", "")
    rank: Rank = "builtin" if _canonical(name) == PROJECT else "installed"

    def candidate(plugin: str, module: str, load: Callable[[], object]) -> Candidate:
        return Candidate(Origin(plugin=plugin, rank=rank, distribution=name, version=version, module=module), load)

    try:
        points = dict.fromkeys(distribution.entry_points.select(group=PROJECT))
    except (TypeError, ValueError) as error:
        damage = PluginError(f"the file entry_points.txt of its distribution is damaged: {error}")
        return [candidate(name or "unnamed", "", partial(_raise, damage))]
    return [candidate(point.name, point.value.partition(":")[0].strip(), point.load) for point in points]


def _headers(distribution: "IDistribution") -> dict[str, str]:
    """Return the headers of the metadata; ``distribution.metadata`` would import the email package."""
    text = _text(distribution, "METADATA") or _text(distribution, "PKG-INFO")
    lines = takewhile(str.strip, text.splitlines())
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _text(distribution: "IDistribution", file: str) -> str:
    try:
        return distribution.read_text(file) or ""
    except UnicodeDecodeError as error:
        logger.debug("%s of %s cannot be read: %s", file, distribution, error)
        return ""


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _raise(error: Exception) -> object:
    raise error
