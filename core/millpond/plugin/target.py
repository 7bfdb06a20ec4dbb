"""The target of a record: an import string, and the error that names plugin, kind and name if it cannot be imported."""

from contextlib import nullcontext
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from millpond.plugin.output import importing, stdout_to_stderr
from millpond.types.errors import UnknownNameError, quoted

if TYPE_CHECKING:
    from millpond.plugin.registry import Entry


def load_target(value: object, entry: "Entry[Any]", field: str = "target") -> Any:
    """Return the object of a field of a record, after importing it if the field is an import string.

    Args:
        value: ``"package.module:attribute"``, or the object.
        entry: The record.
        field: The name of the field, for messages.

    Raises:
        UnknownNameError: If it cannot be imported, or is None.
    """
    target, is_builtin = value, entry.origin.rank == "builtin"
    if isinstance(target, str):
        try:
            with nullcontext() if is_builtin else importing(f"{entry.label} ({target})"):
                target = imported(target)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            fault = f"its {field} {value!r} raised {quoted(error)}"
            raise _load_error(entry, fault, "; `millpond plugins doctor` imports every target") from error
    if target is None:
        raise _load_error(entry, f"its {field} {value!r} is None; expected a class or a function")
    return target


def _load_error(entry: "Entry[Any]", fault: str, end: str = "") -> UnknownNameError:
    is_runtime = entry.origin.rank == "runtime"  # registered by the program: the variable does not apply
    disable = f", or disable it with MILLPOND_DISABLE_PLUGINS={entry.origin.plugin}"
    fix = f"Fix the call of register(){end}" if is_runtime else f"Fix or update the plugin{disable}{end}"
    return UnknownNameError(f"{entry.label} cannot be loaded: {fault}. {fix}")


def imported(target: str) -> Any:
    """Return the object that ``"package.module:attribute"`` names."""
    module, colon, attribute = target.partition(":")
    if not (module and colon and attribute):
        raise ValueError('a target has the form "package.module:attribute"')
    with stdout_to_stderr():
        return attrgetter(attribute)(import_module(module))
