"""The registry: all records with their plugins, by kind and name. Independent of the discovery of plugins."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from logging import getLogger
from operator import attrgetter
from typing import Any, Final, Generic, Literal, TypeVar

from millpond.plugin.hookspecs import HOOKS, hook_of
from millpond.plugin.specs import (
    ActivationSpec,
    ArchitectureSpec,
    CheckpointFormatSpec,
    ConverterSpec,
    ExecutorSpec,
    FallbackSpec,
    IOProcessorSpec,
    KernelSpec,
    ModuleSpec,
    PoolerSpec,
    PublishedModelSpec,
    SourceSpec,
    Spec,
    TaskSpec,
)
from millpond.plugin.target import load_target
from millpond.types.errors import UnknownNameError

S = TypeVar("S", bound=Spec)
T = TypeVar("T")

Rank = Literal["builtin", "installed", "runtime"]

PRECEDENCE: Final[tuple[Rank, ...]] = ("builtin", "installed", "runtime")
"""The kinds of origin, in ascending order of precedence among entries with the same name."""

logger = getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The origin of a record.

    Attributes:
        plugin: The name of the plugin: that of its entry point, or that passed at run time.
        rank: "builtin", "installed", or "runtime" if the running program registered it.
        distribution: The installed distribution; empty for none.
        version: The version of that distribution.
        module: The module of the plugin.
    """

    plugin: str
    rank: Rank
    distribution: str = ""
    version: str = ""
    module: str = ""

    def __str__(self) -> str:
        """Return the plugin's name and its distribution, if any."""
        return f"{self.plugin} ({self.distribution} {self.version})" if self.distribution else self.plugin


@dataclass(frozen=True, kw_only=True)
class Entry(Generic[S]):
    """A record and its origin.

    Attributes:
        spec: The record.
        origin: The plugin that provided it.
    """

    spec: S
    origin: Origin
    _loaded: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def qualified(self) -> str:
        """The unique name of this entry: ``plugin/NAME``."""
        return f"{self.origin.plugin}/{self.spec.name}"

    @property
    def label(self) -> str:
        """Kind, name and plugin, for messages: ``pooler 'MEAN' of plugin poolers (millpond 0.1.0)``."""
        return f"{kind_label(self.spec.kind)} {self.spec.name!r} of plugin {self.origin}"

    @property
    def short_label(self) -> str:
        """The label without the distribution: ``pooler 'MEAN' of plugin poolers``."""
        return f"{kind_label(self.spec.kind)} {self.spec.name!r} of plugin {self.origin.plugin}"

    def load(self, field: str = "target") -> Any:
        """Return the object of a field of the record, imported at the first call.

        Args:
            field: The name of the field, with dots within nested records; an object in place of an import string is
                returned as it is.

        Raises:
            UnknownNameError: If it cannot be imported, or is None.
        """
        if field not in self._loaded:  # concurrent calls are safe: the import system returns the same object
            self._loaded[field] = load_target(attrgetter(field)(self.spec), self, field)
        return self._loaded[field]


class Catalog(Generic[S]):
    """The entries of one kind.

    A bare name refers to the entry with the highest rank: runtime, then installed, then built-in. Two entries with the
    same rank are an error when the name is requested. ``plugin/NAME`` always refers to the entry of that plugin.

    Args:
        record: The type of the records.
        absent: Plugins that are not loaded, with the reasons, for error messages.
    """

    def __init__(self, record: type[S], absent: Mapping[str, str] | None = None) -> None:
        self.record: Final = record
        self._absent = {} if absent is None else absent
        self._entries: dict[str, tuple[Entry[S], ...]] = {}
        self._views: dict[str, Any] = {}  # cached results of computations on the entries

    @property
    def kind(self) -> str:
        """The kind of the records, as in ``PoolerSpec.kind``."""
        return self.record.kind

    @property
    def hook(self) -> str:
        """The name of the hook for these records."""
        return hook_of(self.kind)

    def names(self) -> tuple[str, ...]:
        """Return all bare names, sorted."""
        return self.view("names", lambda: tuple(sorted(self._entries)))

    def entries(self, *, overridden: bool = False) -> tuple[Entry[S], ...]:
        """Return the entries that bare names refer to, sorted by name.

        Args:
            overridden: Include entries that only qualified names refer to.
        """
        if overridden:
            return tuple(entry for name in self.names() for entry in self._entries[name])
        return self.view("entries", lambda: tuple(e for name in self.names() for e in _highest(self._entries[name])))

    def by_priority(self) -> tuple[Entry[S], ...]:
        """Return the entries that bare names refer to, sorted by descending ``priority``."""
        return self.view("by_priority", lambda: tuple(sorted(self.entries(), key=lambda it: -it.spec.priority)))  # type: ignore[attr-defined]

    def grouped(self, field: str) -> Mapping[object, tuple[Entry[S], ...]]:
        """Return the entries that bare names refer to, grouped by a field of their records, such as ``op``."""

        def groups() -> Mapping[object, tuple[Entry[S], ...]]:
            keys = dict.fromkeys(getattr(entry.spec, field) for entry in self.entries())
            return {key: tuple(e for e in self.entries() if getattr(e.spec, field) == key) for key in keys}

        return self.view(f"grouped by {field}", groups)

    def view(self, name: str, compute: Callable[[], T]) -> T:
        """Return the cached result of a computation on the entries; adding a record clears the cache.

        Args:
            name: The name of the result.
            compute: The computation.
        """
        views = self._views  # adding a record replaces the dict, so that no outdated result is kept
        if name not in views:
            views[name] = compute()
        view: T = views[name]
        return view

    def get(self, name: str) -> Entry[S]:
        """Return the entry that a bare or qualified name refers to.

        Raises:
            UnknownNameError: If no plugin provides the name, or if it is ambiguous.
        """
        entry = self.find(name)
        if entry is None:
            raise UnknownNameError(self._unknown(name))
        return entry

    def find(self, name: str) -> Entry[S] | None:
        """Return the entry that a bare or qualified name refers to, or None.

        Raises:
            UnknownNameError: If two plugins of the same rank provide the name.
        """
        qualified = self._qualified(name) if "/" in name else None
        if qualified is not None:
            return qualified
        candidates = _highest(self._entries.get(name, ()))
        if len(candidates) > 1:
            spellings = ", ".join(entry.qualified for entry in candidates)
            message = f"{kind_label(self.kind)} {name!r} is ambiguous. Available: {spellings}"
            raise UnknownNameError(message)
        return candidates[0] if candidates else None

    def overridden(self, entry: Entry[S]) -> tuple[Entry[S], ...]:
        """Return the entries with the same name and a lower rank, which the bare name no longer refers to."""
        others = self._entries.get(entry.spec.name, ())
        return tuple(other for other in others if _weight(other) < _weight(entry))

    def __contains__(self, name: object) -> bool:
        """Return True if a plugin provides a bare or qualified name, including ambiguous names."""
        return isinstance(name, str) and (name in self._entries or self._qualified(name) is not None)

    def add(self, spec: S, origin: Origin) -> Entry[S]:
        """Add a record; it replaces a record of the same plugin with the same name."""
        entry = Entry(spec=spec, origin=origin)
        previous = self._entries.get(spec.name, ())
        others = tuple(other for other in previous if other.origin.plugin != origin.plugin)
        self._entries[spec.name] = (*others, entry)
        self._views = {}
        if len(others) == len(previous):
            self._log_overrides(entry, others)
        return entry

    def _log_overrides(self, entry: Entry[S], others: Iterable[Entry[S]]) -> None:
        for other in others:
            low, high = sorted((entry, other), key=_weight)
            if low.origin.rank == "builtin" and high.origin.rank != "builtin":
                what = f"{kind_label(self.kind)} {entry.spec.name!r}"
                logger.info("plugin %s overrides the built-in %s (now %s)", high.origin, what, low.qualified)

    def _qualified(self, name: str) -> Entry[S] | None:
        plugin, slash, bare = name.partition("/")
        candidates = self._entries.get(bare, ()) if slash else ()
        return next((entry for entry in candidates if entry.origin.plugin == plugin), None)

    def _unknown(self, name: str) -> str:
        plugin, slash, bare = name.partition("/")
        of_plugin = sorted(entry.spec.name for entry in self.entries(overridden=True) if entry.origin.plugin == plugin)
        label = kind_label(self.kind)
        if of_plugin and slash:
            name = bare
            unknown = f"Unknown {label} {bare!r} of plugin {plugin!r}{_alike(bare, of_plugin)}"
        else:
            unknown = f"Unknown {label} {name!r}{_alike(name, self.names())}"
        available = (of_plugin if slash else ()) or self.names()
        sentences = [unknown, f"Available: {', '.join(available) or 'none'}"]
        sentences += _not_loaded(self._absent)
        example = f'{self.record.__name__}(name="{name}", ...)'
        sentences.append(
            f"A plugin can provide it with the hook {self.hook}, a program with millpond.register({example})"
        )
        return ". ".join(sentences)


class Registry:
    """The catalogs of all kinds: those of the core are attributes, that of any record is ``registry[CommandSpec]``.

    Attributes:
        absent: Plugins that are not loaded, with the reasons; written by the plugin manager, used in error messages.
        ranks: The ranks of all records.
    """

    def __init__(self) -> None:
        self.ranks: Final[set[Rank]] = set()
        self.absent: Final[dict[str, str]] = {}
        self._by_kind: Final[dict[str, Catalog[Any]]] = {}
        self.tasks: Final = self[TaskSpec]
        self.architectures: Final = self[ArchitectureSpec]
        self.published_models: Final = self[PublishedModelSpec]
        self.fallbacks: Final = self[FallbackSpec]
        self.converters: Final = self[ConverterSpec]
        self.poolers: Final = self[PoolerSpec]
        self.activations: Final = self[ActivationSpec]
        self.io_processors: Final = self[IOProcessorSpec]
        self.kernels: Final = self[KernelSpec]
        self.sources: Final = self[SourceSpec]
        self.checkpoint_formats: Final = self[CheckpointFormatSpec]
        self.modules: Final = self[ModuleSpec]
        self.executors: Final = self[ExecutorSpec]

    def __getitem__(self, record: type[S]) -> Catalog[S]:
        """Return the catalog of a type of records.

        Raises:
            UnknownNameError: If no hook declares it.
        """
        return self.catalog(record.kind)

    def catalogs(self) -> tuple[Catalog[Any], ...]:
        """Return the catalogs of all kinds."""
        return tuple(self.catalog(record.kind) for record in tuple(HOOKS.values()))

    def catalog(self, kind: str) -> Catalog[Any]:
        """Return the catalog of a kind, such as ``"pooler"``.

        Raises:
            UnknownNameError: If the kind is unknown.
        """
        record = HOOKS.get(hook_of(kind))
        if record is None:
            kinds = [it.kind for it in HOOKS.values()]
            unknown = f"Unknown kind {kind!r}{_alike(kind, kinds)}"
            raise UnknownNameError(". ".join([unknown, f"Available: {', '.join(kinds)}", *_not_loaded(self.absent)]))
        return self._by_kind.setdefault(kind, Catalog(record, self.absent))

    def entries(self, kind: str) -> tuple[Entry[Any], ...]:
        """Return the entries of a kind that a kit declares; none if no plugin needs the kit."""
        return self.catalog(kind).entries() if hook_of(kind) in HOOKS else ()

    def register(self, spec: Spec, origin: Origin) -> Entry[Any]:
        """Add a record to the catalog of its kind.

        Raises:
            TypeError: If it is not a record of a known kind.
        """
        if not isinstance(spec, Spec) or hook_of(getattr(spec, "kind", "")) not in HOOKS:
            expected = ", ".join(record.__name__ for record in HOOKS.values())
            message = f"{spec!r} is not a record; expected one of {expected}"
            raise TypeError(message)
        self.ranks.add(origin.rank)
        return self.catalog(spec.kind).add(spec, origin)


def _weight(entry: Entry[Any]) -> int:
    return PRECEDENCE.index(entry.origin.rank)


def _highest(entries: tuple[Entry[S], ...]) -> tuple[Entry[S], ...]:
    if len(entries) < 2:  # noqa: PLR2004
        return entries
    top = max(map(_weight, entries), default=0)
    return tuple(entry for entry in entries if _weight(entry) == top)


def kind_label(kind: str) -> str:
    """Return the name of a kind for messages: ``IO processor``."""
    return kind.replace("_", " ").replace("io ", "IO ")


def _not_loaded(absent: Mapping[str, str]) -> list[str]:
    """Return a sentence with the plugins that are not loaded and the reasons, or none."""
    plugins = [f"{plugin} ({reason})" for plugin, reason in sorted(absent.items())]
    return [f"Not loaded: {', '.join(plugins)}"] if plugins else []


def _alike(name: str, known: Iterable[str]) -> str:
    folded = {candidate.casefold(): candidate for candidate in known}
    close = [folded[match] for match in get_close_matches(name.casefold(), folded)]
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""


def quantization_schemes(registry: Registry) -> set[str]:
    """Return the quantization schemes of all kernels."""
    return {str(scheme) for scheme in registry.kernels.grouped("quantization") if scheme is not None}
