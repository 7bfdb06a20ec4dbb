"""Checks of lists of stop words for ``millpond plugins doctor``."""

from collections.abc import Iterator
from typing import Any

from millpond.plugin.registry import Entry, Registry
from millpond.testing.records.common import Fault
from millpond_stopwords.kinds import StopwordListSpec


def stopword_list_target(registry: Registry, entry: Entry[StopwordListSpec], target: Any) -> Iterator[Fault]:
    """Check that the target is a set of words in lower case."""
    del registry, entry
    if not isinstance(target, frozenset):
        yield Fault(f"its target is {target!r:.80}", "name a frozenset of words")
        return
    upper = sorted(word for word in target if word != word.lower())
    if upper:
        yield Fault(f"its target contains {upper[0]!r}", f"write {upper[0].lower()!r}")
