"""Who brings what: every record and the plugin it came from, by kind and name. Knows not how plugins are found."""

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from logging import getLogger
from operator import attrgetter
from typing import Any, Final, Generic, Literal, TypeVar

from millpond.compat.flat_architecture import separate_records
from millpond.plugin.output import importing, stdout_to_stderr
from millpond.plugin.specs import (
    ActivationSpec,
    ArchitectureSpec,
    CommandSpec,
    ConverterSpec,
    FallbackSpec,
    IOProcessorSpec,
    KernelSpec,
    PoolerSpec,
    PublishedModelSpec,
    RouteSpec,
    SourceSpec,
    Spec,
    TaskSpec,
)
from millpond.types.errors import UnknownNameError

S = TypeVar("S", bound=Spec)

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
    _loaded: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def qualified(self) -> str:
        """The spelling that means this entry and no other: ``plugin/NAME``."""
        return f"{self.origin.plugin}/{self.spec.name}"

    @property
    def label(self) -> str:
        """Kind, name and plugin, for messages: ``pooler 'MEAN' of plugin poolers (millpond 0.1.0)``."""
        return f"{_label(self.spec.kind)} {self.spec.name!r} of plugin {self.origin}"

    def load(self) -> Any:
        """What the record's target names, imported at the first call; a target that is no string is returned as it is.

        Raises:
            UnknownNameError: The target does not import.
        """
        if not self._loaded:  # two threads may both pass: the import system hands both the same object
            self._loaded.append(self._resolve())
        return self._loaded[0]

    def _resolve(self) -> Any:
        target = self.spec.target
        if not isinstance(target, str):
            return self._existing(target)
        try:
            with nullcontext() if self.origin.rank == "builtin" else importing(f"{self.label} ({target})"):
                found = imported(target)
        except (Exception, SystemExit) as error:
            raise UnknownNameError(_unloadable(self, target, error)) from error
        return self._existing(found)

    def _existing(self, found: object) -> object:
        if found is not None:
            return found
        message = (
            f"{self.label} does not load: its target {self.spec.target!r} is None; expected a class or a function. "
            f"Fix or update the plugin, or leave it out with MILLPOND_DISABLE_PLUGINS={self.origin.plugin}"
        )
        raise UnknownNameError(message)


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
        self._version = 0  # the number of records that were added: what was computed of fewer is out of date
        self._ranked: tuple[int, tuple[Entry[S], ...]] = (-1, ())
        self._groups: dict[str, tuple[int, dict[object, tuple[Entry[S], ...]]]] = {}

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
        return tuple(sorted(self._entries))

    def entries(self, *, overridden: bool = False) -> tuple[Entry[S], ...]:
        """The entries that bare names lead to, sorted by name.

        Args:
            overridden: Give those as well that only their qualified names lead to.
        """
        if overridden:
            return tuple(entry for name in self.names() for entry in self._entries[name])
        version, ranked = self._ranked
        if version != self._version:
            version = self._version  # read before the entries: records that are added meanwhile make it out of date
            ranked = tuple(entry for name in self.names() for entry in _highest(self._entries[name]))
            self._ranked = version, ranked
        return ranked

    def grouped(self, field: str) -> Mapping[object, tuple[Entry[S], ...]]:
        """The entries that bare names lead to, by the value of a field of their records, such as the op of kernels."""
        version, groups = self._groups.get(field, (-1, {}))
        if version != self._version:
            version, groups = self._version, {}
            for entry in self.entries():
                key = getattr(entry.spec, field)
                groups[key] = (*groups.get(key, ()), entry)
            self._groups[field] = version, groups
        return groups

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
        self._version += 1
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


def imported(target: str) -> Any:
    """What ``"package.module:attribute"`` names."""
    module, colon, attribute = target.partition(":")
    if not (module and colon and attribute):
        raise ValueError('a target is spelled "package.module:attribute"')
    with stdout_to_stderr():
        return attrgetter(attribute)(import_module(module))


def _unloadable(entry: Entry[Any], target: str, error: BaseException) -> str:
    return (
        f"{_label(entry.spec.kind)} {entry.spec.name!r} of plugin {entry.origin} does not load: its target "
        f"{target!r} raised {type(error).__name__}: {error}. Mend or update the plugin, or leave it out with "
        f"MILLPOND_DISABLE_PLUGINS={entry.origin.plugin}; `millpond plugins doctor` tries every target"
    )


def _weight(entry: Entry[Any]) -> int:
    return PRECEDENCE.index(entry.origin.rank)


def _highest(entries: tuple[Entry[S], ...]) -> tuple[Entry[S], ...]:
    top = max(map(_weight, entries), default=0)
    return tuple(entry for entry in entries if _weight(entry) == top)


def _label(kind: str) -> str:
    return kind.replace("_", " ").replace("io ", "IO ")


def _alike(name: str, known: Iterable[str]) -> str:
    folded = {candidate.casefold(): candidate for candidate in known}
    close = [folded[match] for match in get_close_matches(name.casefold(), folded)]
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
