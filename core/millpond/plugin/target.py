"""Target: an import string in a record, and the error that names plugin, kind and name if it cannot be imported."""

from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from millpond.plugin.output import importing, stdout_to_stderr
from millpond.types.errors import UnknownNameError, quoted

if TYPE_CHECKING:
    from millpond.plugin.registry import Entry


@dataclass(frozen=True)
class Target:
    """An import string, or the object itself, in a field of a record.

    Attributes:
        value: ``"package.module:attribute"``, or the object.
        entry: The record.
        field: The name of the field, for messages.
    """

    value: object
    entry: "Entry[Any]"
    field: str = "target"

    def load(self) -> Any:
        """Return the object, after importing it if the field is an import string.

        Raises:
            UnknownNameError: If it cannot be imported, or is None.
        """
        value, entry = self.value, self.entry
        if isinstance(value, str):
            is_builtin = entry.origin.rank == "builtin"
            try:
                with nullcontext() if is_builtin else importing(f"{entry.label} ({value})"):
                    value = imported(value)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                fault = f"raised {quoted(error)}"
                raise self._error(fault, "; `millpond plugins doctor` imports every target") from error
        if value is None:
            raise self._error("is None; expected a class or a function")
        return value

    def _error(self, fault: str, end: str = "") -> UnknownNameError:
        entry = self.entry
        is_runtime = entry.origin.rank == "runtime"  # registered by the program: the variable does not apply
        disable = "" if is_runtime else f", or disable it with MILLPOND_DISABLE_PLUGINS={entry.origin.plugin}"
        fix = f"Fix the call of register(){end}" if is_runtime else f"Fix or update the plugin{disable}{end}"
        return UnknownNameError(f"{entry.label} cannot be loaded: its {self.field} {self.value!r} {fault}. {fix}")


def imported(target: str) -> Any:
    """Return the object that ``"package.module:attribute"`` names."""
    module, colon, attribute = target.partition(":")
    if not (module and colon and attribute):
        raise ValueError('a target has the form "package.module:attribute"')
    with stdout_to_stderr():
        return attrgetter(attribute)(import_module(module))
