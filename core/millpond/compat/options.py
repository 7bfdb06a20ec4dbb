"""Names of per-call options before 0.2, with a DeprecationWarning."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final, overload

from millpond.compat.warn import warn_caller

RENAMED: Final[Mapping[str, str]] = MappingProxyType({"mixed": "mixed_modality"})


@overload
def current_options(options: Mapping[str, object], known: Collection[str]) -> Mapping[str, object]: ...
@overload
def current_options(options: Mapping[str, object] | None, known: Collection[str]) -> Mapping[str, object] | None: ...
def current_options(options: Mapping[str, object] | None, known: Collection[str]) -> Mapping[str, object] | None:
    """Return options by their present names; the options themselves if no former name is among them.

    Args:
        options: The options of a call by name, or None.
        known: The names of the task's options. A former name that is one of them is not renamed.
    """
    if not options or RENAMED.keys().isdisjoint(options):
        return options
    names = {old: new for old, new in RENAMED.items() if old in options and old not in known and new in known}
    for old, new in names.items():
        warn_caller(f"the option {old!r} was renamed: pass {new!r}")
    return {names.get(name, name): value for name, value in options.items()}
