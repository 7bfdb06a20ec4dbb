"""Records the plugin of each component, so that its errors state the plugin, the kind and the name."""

import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any

from millpond.types.errors import ComponentError, MillpondError, is_out_of_memory, quoted

if TYPE_CHECKING:
    from millpond.plugin.registry import Entry

MARK = "_millpond_entry"
TYPE_NAMES = {"Tensor": "tensor", "Parameter": "tensor", "ndarray": "array"}


def build(entry: "Entry[Any]", ctx: object) -> Any:
    """Create ``target(ctx)`` and mark it with its record.

    Exceptions of built-in targets are not changed, because they usually report problems of config.json.

    Raises:
        ComponentError: If a target that is not built in fails.
    """
    target = entry.load()
    with blamed_plugin(entry, "failed in target(ctx)"):
        component = target(ctx)
    return mark(component, entry)


def mark(component: Any, entry: "Entry[Any]") -> Any:
    """Store the record of a component in the component, if it supports attributes, and return the component."""
    if hasattr(component, "__dict__") and not isinstance(component, type):
        vars(component)[MARK] = entry
    return component


def owner_of(component: object) -> "Entry[Any] | None":
    """Return the record of a component; None if it is unknown."""
    entry: Entry[Any] | None = getattr(component, "__dict__", {}).get(MARK)
    return entry


def is_foreign(entry: "Entry[Any] | None") -> bool:
    """Return True for a record of a plugin that is not built in."""
    return entry is not None and entry.origin.rank != "builtin"


class blamed:  # noqa: N801  used like contextlib.suppress
    """Convert exceptions of a component to errors that name the component.

    Errors of Millpond, KeyboardInterrupt and out-of-memory errors are not changed. A class is faster than a generator.

    Args:
        owner: The record of the component; None to change no exception.
        how: The failure, as the text after the name of the component.

    Raises:
        ComponentError: If the component raised an exception.
    """

    __slots__ = ("how", "owner")

    def __init__(self, owner: "Entry[Any] | None", how: str = "failed on this request") -> None:
        self.owner = owner
        self.how = how

    def __enter__(self) -> None:
        """Enter the block that calls the component."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the block, and raise an error that names the component in place of its exception."""
        owner = self.owner
        if error is None or owner is None or isinstance(error, MillpondError) or is_out_of_memory(error):
            return
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            return  # Ctrl-C, which Python raises in the main thread only
        message = f"{owner.label} {self.how}: {quoted(error)}"
        raise component_error(owner, message, public=f"{owner.short_label} {self.how}") from error


def blamed_plugin(entry: "Entry[Any] | None", how: str) -> blamed:
    """Return ``blamed`` for a component of a plugin; exceptions of a built-in one report problems of its input."""
    return blamed(entry if is_foreign(entry) else None, how)


def breach(owner: "Entry[Any] | None", message: str) -> ComponentError:
    """Return the error of a component whose result violates its contract."""
    name = "the model" if owner is None else owner.short_label
    text = f"{'the model' if owner is None else owner.label} broke its contract: {message}"
    return component_error(owner, text, public=f"{name} broke its contract: {message}")


def component_error(owner: "Entry[Any] | None", message: str, *, public: str) -> ComponentError:
    """Return an error with the plugin, the kind and the name of a component."""
    if owner is None:
        return ComponentError(message, public=public)
    spec, plugin = owner.spec, owner.origin.plugin
    return ComponentError(message, plugin=plugin, kind=spec.kind, name=spec.name, public=public)


def described(value: object) -> str:
    """Describe a returned value for messages: ``a tensor [2, 5, 32]``, ``a tuple of 2``, ``None``."""
    if value is None:
        return "None"
    name = TYPE_NAMES.get(type(value).__name__, type(value).__name__)
    article = "an" if name[0].lower() in "aeiou" else "a"
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"{article} {name} {list(shape)}"
    return f"{article} {name}" + (f" of {len(value)}" if isinstance(value, list | tuple) else "")
