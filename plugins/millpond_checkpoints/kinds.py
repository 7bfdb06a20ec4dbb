"""The kind of records of this kit: the spaces of embeddings."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from millpond.plugin.hookspecs import hookspec
from millpond.plugin.specs import Spec


@dataclass(frozen=True, kw_only=True)
class SpaceSpec(Spec):
    """The space of a model's embeddings, ``LLM.space``; target: ``(ResolvedModel, InputOptions) -> Space``.

    The protocol ``Space`` is in ``millpond.types.space``.
    """

    kind: ClassVar[str] = "space"


@hookspec
def register_spaces() -> Iterable[SpaceSpec]:
    """Declare how the files and settings that decide the numbers of embeddings are found.

    The record with the name ``default`` is used.
    """
    return ()
