"""Blame: which record an object was built from, so that an error of it names plugin, kind and name."""

from types import TracebackType
from typing import TYPE_CHECKING, Any

from millpond.types.errors import ComponentError, MillpondError, is_out_of_memory

if TYPE_CHECKING:
    from millpond.context import ModelContext
    from millpond.plugin.registry import Entry

MARK = "_millpond_entry"
TYPE_NAMES = {"Tensor": "tensor", "Parameter": "tensor", "ndarray": "array"}


def build(entry: "Entry[Any]", ctx: "ModelContext") -> Any:
    """Build ``target(ctx)`` and note whose it is.

    What a built-in target raises is left as it is: config.json may be the reason, and the caller knows.

    Raises:
        ComponentError: The target of another plugin failed.
    """
    target = entry.load()
    if entry.origin.rank == "builtin":
        return mark(target(ctx), entry)
    with blamed(entry, "failed in target(ctx)"):
        made = target(ctx)
    return mark(made, entry)


def mark(made: Any, entry: "Entry[Any]") -> Any:
    """Note which record an object was built from, where the object can hold a note, and return it."""
    if hasattr(made, "__dict__") and not isinstance(made, type):
        vars(made)[MARK] = entry
    return made


def owner_of(made: object) -> "Entry[Any] | None":
    """The record that an object was built from; None if that is not known."""
    found: Entry[Any] | None = getattr(made, "__dict__", {}).get(MARK)
    return found


def is_foreign(entry: "Entry[Any] | None") -> bool:
    """True for a record of a plugin that is not built in."""
    return entry is not None and entry.origin.rank != "builtin"


class blamed:  # noqa: N801  used like contextlib.suppress
    """Turn what a component raises into an error that names the component.

    Errors of Millpond, Ctrl-C and a lack of memory pass as they are. (A class: a generator costs a short text more.)

    Args:
        owner: The record of the component; None leaves all errors as they are.
        how: What went wrong, as it follows the name of the component.

    Raises:
        ComponentError: The component raised.
    """

    __slots__ = ("how", "owner")

    def __init__(self, owner: "Entry[Any] | None", how: str = "failed on this request") -> None:
        self.owner = owner
        self.how = how

    def __enter__(self) -> None:
        """Begin the part of the component."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it, and raise another error in place of what it raised."""
        owner = self.owner
        if error is None or owner is None or isinstance(error, MillpondError | KeyboardInterrupt):
            return
        if is_out_of_memory(error):
            return
        message = f"{owner.label} {self.how}: {type(error).__name__}: {error}"
        raise component_error(owner, message, public=f"{_short(owner)} {self.how}") from error


def breach(owner: "Entry[Any] | None", message: str) -> ComponentError:
    """The error of a component that returned something else than its kind promises."""
    name = "the model" if owner is None else _short(owner)
    text = f"{'the model' if owner is None else owner.label} broke its contract: {message}"
    return component_error(owner, text, public=f"{name} broke its contract: {message}")


def component_error(owner: "Entry[Any] | None", message: str, *, public: str) -> ComponentError:
    """An error that carries whose it is."""
    if owner is None:
        return ComponentError(message, public=public)
    spec, plugin = owner.spec, owner.origin.plugin
    return ComponentError(message, plugin=plugin, kind=spec.kind, name=spec.name, public=public)


def described(value: object) -> str:
    """A returned value for messages: ``a tensor [2, 5, 32]``, ``a tuple of 2``, ``None``."""
    if value is None:
        return "None"
    name = TYPE_NAMES.get(type(value).__name__, type(value).__name__)
    article = "an" if name[0].lower() in "aeiou" else "a"
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"{article} {name} {list(shape)}"
    return f"{article} {name}" + (f" of {len(value)}" if isinstance(value, list | tuple) else "")


def _short(owner: "Entry[Any]") -> str:
    kind, name = owner.spec.kind.replace("_", " ").replace("io ", "IO "), owner.spec.name
    return f"{kind} {name!r} of plugin {owner.origin.plugin}"
