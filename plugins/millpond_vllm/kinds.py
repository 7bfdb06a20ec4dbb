"""The kind of records of this kit: the arguments of other libraries that ``LLM`` accepts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from millpond.plugin.hookspecs import hookspec
from millpond.plugin.specs import Spec


class ArgumentDialect(Protocol):
    """The arguments of another library, for programs that pass them to ``LLM``.

    The target of a record is an object with these methods, such as a class with static methods.
    """

    def translate(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the arguments of a call with those of the library replaced by those of Millpond.

        Arguments without effect are removed. Arguments of Millpond and unknown ones are returned unchanged.

        Raises:
            InvalidInputError: If an argument requests something that is not supported.
        """
        ...

    def names(self) -> Iterable[str]:
        """Return the names of the library's arguments, for suggestions in errors."""
        ...


@dataclass(frozen=True, kw_only=True)
class DialectSpec(Spec):
    """Arguments of another library that ``LLM`` and ``AsyncLLM`` accept; its target is an ``ArgumentDialect``."""

    kind: ClassVar[str] = "dialect"
    checks: ClassVar[str] = "millpond_vllm.record_checks"


@hookspec
def register_dialects() -> Iterable[DialectSpec]:
    """Declare the arguments of other libraries that ``LLM`` and ``AsyncLLM`` accept.

    Its translation is called for arguments that Millpond does not know.
    """
    return ()
