"""Who brings what: every record and the plugin it came from, by kind and name. Knows not how plugins are found."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from logging import getLogger
from operator import attrgetter
from typing import Any, Final, Generic, Literal, TypeVar

from millpond.compat.flat_architecture import separate_records
from millpond.plugin.specs import (
    ActivationSpec,
    ArchitectureSpec,
    CheckpointFormatSpec,
    CommandSpec,
    ConverterSpec,
    FallbackSpec,
    IOProcessorSpec,
    KernelSpec,
    ModuleSpec,
    PoolerSpec,
    PublishedModelSpec,
    RouteSpec,
    SourceSpec,
    Spec,
    TaskSpec,
)
from millpond.plugin.target import Target
from millpond.types.errors import UnknownNameError

S = TypeVar("S", bound=Spec)
T = TypeVar("T")

Rank = Literal["builtin", "installed", "runtime"]

PRECEDENCE: Final[tuple[Rank, ...]] = ("builtin", "installed", "runtime")
"""The kinds of origin; of entries with one name, those of the last kind win."""

logger = getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a record came from.

    Attributes:
        plugin: The name of the plugin: its entry point's, or the one given at run time.
        rank: Whether it is one of ours, was installed beside us, or was registered by the running program.
        distribution: The installed distribution; empty when there is none.
        version: The version of that distribution.
        module: The module of the plugin.
    """

    plugin: str
    rank: Rank
    distribution: str = ""
    version: str = ""
    module: str = ""

    def __str__(self) -> str:
        """The plugin's name and, where there is one, its distribution."""
        return f"{self.plugin} ({self.distribution} {self.version})" if self.distribution else self.plugin


@dataclass(frozen=True, kw_only=True)
class Entry(Generic[S]):
    """A record and its origin.

    Attributes:
        spec: What the plugin said.
        origin: Which plugin said it.
    """

    spec: S
    origin: Origin
    _loaded: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def qualified(self) -> str:
        """The spelling that means this entry and no other: ``plugin/NAME``."""
        return f"{self.origin.plugin}/{self.spec.name}"

    @property
    def label(self) -> str:
        """Kind, name and plugin, for messages: ``pooler 'MEAN' of plugin poolers (millpond 0.1.0)``."""
        return f"{_label(self.spec.kind)} {self.spec.name!r} of plugin {self.origin}"

    def load(self, field: str = "target") -> Any:
        """Return the object that a field of the record names, imported at the first call.

        Args:
            field: The name of the field, with dots within nested records; an object in place of an import string is
                returned as it is.

        Raises:
            UnknownNameError: It cannot be imported, or is None.
        """
        if field not in self._loaded:  # two threads may both pass: the import system returns the same object to both
            self._loaded[field] = Target(attrgetter(field)(self.spec), self, field).load()
        return self._loaded[field]


class Catalog(Generic[S]):
    """The entries of one kind.

    A bare name means the entry of the highest rank: runtime over installed over built-in. Two of one rank are an error,
    but only for who asks for that name. ``plugin/NAME`` means the entry of that plugin, whatever else there is.

    Args:
        record: The type of the records.
        absent: Plugins that are not loaded, each with the reason, for error messages.
    """

    def __init__(self, record: type[S], absent: Mapping[str, str] | None = None) -> None:
        self.record: Final = record
        self._absent = {} if absent is None else absent
        self._entries: dict[str, tuple[Entry[S], ...]] = {}
        self._views: dict[str, Any] = {}  # what was computed of the entries; emptied when one is added

    @property
    def kind(self) -> str:
        """The kind of the records, as in ``PoolerSpec.kind``."""
        return self.record.kind

    @property
    def hook(self) -> str:
        """The hook by which plugins bring such records."""
        return f"register_{self.kind}s"

    def names(self) -> tuple[str, ...]:
        """All bare names, sorted."""
        return self.view("names", lambda: tuple(sorted(self._entries)))

    def entries(self, *, overridden: bool = False) -> tuple[Entry[S], ...]:
        """The entries that bare names lead to, sorted by name.

        Args:
            overridden: Return those as well that only their qualified names lead to.
        """
        if overridden:
            return tuple(entry for name in self.names() for entry in self._entries[name])
        return self.view("entries", lambda: tuple(e for name in self.names() for e in _highest(self._entries[name])))

    def by_priority(self) -> tuple[Entry[S], ...]:
        """The entries that bare names lead to, those of the highest ``priority`` first."""
        return self.view("by_priority", lambda: tuple(sorted(self.entries(), key=lambda it: -it.spec.priority)))  # type: ignore[attr-defined]

    def grouped(self, field: str) -> Mapping[object, tuple[Entry[S], ...]]:
        """The entries that bare names lead to, by the value of a field of their records, such as the op of kernels."""

        def groups() -> Mapping[object, tuple[Entry[S], ...]]:
            keys = dict.fromkeys(getattr(entry.spec, field) for entry in self.entries())
            return {key: tuple(e for e in self.entries() if getattr(e.spec, field) == key) for key in keys}

        return self.view(f"grouped by {field}", groups)

    def view(self, name: str, compute: Callable[[], T]) -> T:
        """Return the result of a computation on the entries, which is kept until a record is added.

        Args:
            name: The name of the result.
            compute: The computation.
        """
        views = self._views  # a record that is added meanwhile replaces the dict: what is computed here goes with it
        if name not in views:
            views[name] = compute()
        view: T = views[name]
        return view

    def get(self, name: str) -> Entry[S]:
        """The entry that a bare or qualified name means.

        Raises:
            UnknownNameError: No plugin brings it, or two do.
        """
        entry = self.find(name)
        if entry is None:
            raise UnknownNameError(self._unknown(name))
        return entry

    def find(self, name: str) -> Entry[S] | None:
        """The entry that a bare or qualified name means, or None.

        Raises:
            UnknownNameError: Two plugins of one rank bring it.
        """
        qualified = self._qualified(name)
        if qualified is not None:
            return qualified
        candidates = _highest(self._entries.get(name, ()))
        if len(candidates) > 1:
            spellings = ", ".join(entry.qualified for entry in candidates)
            message = f"{_label(self.kind)} {name!r} is ambiguous; say which: {spellings}"
            raise UnknownNameError(message)
        return candidates[0] if candidates else None

    def overridden(self, entry: Entry[S]) -> tuple[Entry[S], ...]:
        """The entries of the same name with a lower rank, which the bare name no longer means."""
        others = self._entries.get(entry.spec.name, ())
        return tuple(other for other in others if _weight(other) < _weight(entry))

    def __contains__(self, name: object) -> bool:
        """Whether some plugin brings that name, bare or qualified; true of an ambiguous one too."""
        return isinstance(name, str) and (name in self._entries or self._qualified(name) is not None)

    def add(self, spec: S, origin: Origin) -> Entry[S]:
        """Book a record; one that the same plugin brought under that name before is replaced."""
        entry = Entry(spec=spec, origin=origin)
        before = self._entries.get(spec.name, ())
        others = tuple(other for other in before if other.origin.plugin != origin.plugin)
        self._entries[spec.name] = (*others, entry)
        self._views = {}
        if len(others) == len(before):
            self._tell_overrides(entry, others)
        return entry

    def _tell_overrides(self, entry: Entry[S], others: Iterable[Entry[S]]) -> None:
        for other in others:
            low, high = sorted((entry, other), key=_weight)
            if low.origin.rank == "builtin" and high.origin.rank != "builtin":
                what = f"{_label(self.kind)} {entry.spec.name!r}"
                logger.info("plugin %s overrides the built-in %s (now %s)", high.origin, what, low.qualified)

    def _qualified(self, name: str) -> Entry[S] | None:
        plugin, slash, bare = name.partition("/")
        candidates = self._entries.get(bare, ()) if slash else ()
        return next((entry for entry in candidates if entry.origin.plugin == plugin), None)

    def _unknown(self, name: str) -> str:
        plugin, slash, bare = name.partition("/")
        own = sorted(entry.spec.name for entry in self.entries(overridden=True) if entry.origin.plugin == plugin)
        label, example = _label(self.kind), f'{self.record.__name__}(name="{bare if own and slash else name}", ...)'
        if own and slash:
            said = [f"plugin {plugin!r} brings no {label} {bare!r}{_alike(bare, own)}; it brings: {', '.join(own)}"]
        else:
            there = ", ".join(self.names()) or "none"
            said = [f"there is no {label} {name!r}{_alike(name, self.names())}; there are: {there}"]
        if self._absent:
            said.append("Not loaded: " + ", ".join(f"{who} ({why})" for who, why in sorted(self._absent.items())))
        said.append(f"A plugin brings it by the hook {self.hook}, a program by millpond.register({example})")
        return ". ".join(said)


class Registry:
    """The catalogs of all kinds.

    Attributes:
        absent: Plugins that are not loaded, each with the reason; who loads plugins writes it, error messages say it.
    """

    def __init__(self) -> None:
        self.absent: Final[dict[str, str]] = {}
        self.tasks: Final = Catalog(TaskSpec, self.absent)
        self.architectures: Final = Catalog(ArchitectureSpec, self.absent)
        self.published_models: Final = Catalog(PublishedModelSpec, self.absent)
        self.fallbacks: Final = Catalog(FallbackSpec, self.absent)
        self.converters: Final = Catalog(ConverterSpec, self.absent)
        self.poolers: Final = Catalog(PoolerSpec, self.absent)
        self.activations: Final = Catalog(ActivationSpec, self.absent)
        self.io_processors: Final = Catalog(IOProcessorSpec, self.absent)
        self.kernels: Final = Catalog(KernelSpec, self.absent)
        self.sources: Final = Catalog(SourceSpec, self.absent)
        self.commands: Final = Catalog(CommandSpec, self.absent)
        self.routes: Final = Catalog(RouteSpec, self.absent)
        self.checkpoint_formats: Final = Catalog(CheckpointFormatSpec, self.absent)
        self.modules: Final = Catalog(ModuleSpec, self.absent)
        catalogs = (value for value in vars(self).values() if isinstance(value, Catalog))
        self._by_kind: Final[dict[str, Catalog[Any]]] = {catalog.kind: catalog for catalog in catalogs}

    def catalogs(self) -> tuple[Catalog[Any], ...]:
        """The catalogs of all kinds."""
        return tuple(self._by_kind.values())

    def catalog(self, kind: str) -> Catalog[Any]:
        """The catalog of a kind, such as ``"pooler"``.

        Raises:
            UnknownNameError: There is no such kind.
        """
        if kind not in self._by_kind:
            message = f"there is no kind {kind!r}{_alike(kind, self._by_kind)}; there are: {', '.join(self._by_kind)}"
            raise UnknownNameError(message)
        return self._by_kind[kind]

    def register(self, spec: Spec, origin: Origin) -> Entry[Any]:
        """Book a record under its kind and name.

        Raises:
            TypeError: It is no record of a kind that Millpond knows.
        """
        kind = getattr(spec, "kind", None)
        if not isinstance(spec, Spec) or kind not in self._by_kind:
            message = f"{spec!r} is no record; there are: {', '.join(c.record.__name__ for c in self.catalogs())}"
            raise TypeError(message)
        entries = [self._by_kind[record.kind].add(record, origin) for record in separate_records(spec)]
        return entries[-1]


def _weight(entry: Entry[Any]) -> int:
    return PRECEDENCE.index(entry.origin.rank)


def _highest(entries: tuple[Entry[S], ...]) -> tuple[Entry[S], ...]:
    if len(entries) < 2:  # noqa: PLR2004
        return entries
    top = max(map(_weight, entries), default=0)
    return tuple(entry for entry in entries if _weight(entry) == top)


def _label(kind: str) -> str:
    return kind.replace("_", " ").replace("io ", "IO ")


def _alike(name: str, known: Iterable[str]) -> str:
    folded = {candidate.casefold(): candidate for candidate in known}
    close = [folded[match] for match in get_close_matches(name.casefold(), folded)]
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
