"""The kind of records that this package declares: lists of stop words."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from millpond.plugin.hookspecs import hookspec
from millpond.plugin.specs import Spec


@dataclass(frozen=True, kw_only=True)
class StopwordListSpec(Spec):
    """The stop words of a language, named by the language; the target is a set of words in lower case."""

    kind: ClassVar[str] = "stopword_list"
    checks: ClassVar[str] = "millpond_stopwords.checks"


@hookspec
def register_stopword_lists() -> Iterable[StopwordListSpec]:
    """Declare stop words of languages."""
    return ()
