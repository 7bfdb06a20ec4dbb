"""Takes what plugins name, each plugin on its own: one that is broken costs nobody but who needs it.

Of pluggy it uses the markers, the validation of hooks and ``get_hookimpls()``; pluggy's own loader lets the first
broken plugin take the program down.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from logging import getLogger
from threading import RLock
from types import ModuleType
from typing import Any, Final, Literal

import pluggy

from millpond.plugin import hookspecs
from millpond.plugin.discovery import Candidate, candidates
from millpond.plugin.hookspecs import API_VERSION, PROJECT
from millpond.plugin.output import importing
from millpond.plugin.registry import Entry, Origin, Rank, Registry
from millpond.plugin.specs import KINDS, Spec
from millpond.types.errors import PluginError

Stage = Literal["import", "version", "hook", "value", "register"]
Status = Literal["ok", "failed", "disabled"]

RUNTIME: Final = "runtime"
"""The plugin name of what a program registers without naming a plugin."""

HOOKS: Final[Mapping[str, type[Spec]]] = {f"register_{kind}s": record for kind, record in KINDS.items()}
"""Every hook, and the record it is asked for."""

logger = getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """Why a plugin is not loaded.

    Attributes:
        plugin: The name of the plugin.
        stage: What failed: its import, its API version, a hook, a value that a hook gave, or its registration.
        error: What was raised.
        origin: Where the plugin came from.
    """

    plugin: str
    stage: Stage
    error: BaseException
    origin: Origin | None = None

    def __str__(self) -> str:
        """The failure in one line."""
        reason = " ".join(f"{type(self.error).__name__}: {self.error}".split())
        return f"plugin {self.origin or self.plugin} is not loaded, it failed at {self.stage}: {reason}"


@dataclass(frozen=True, kw_only=True)
class PluginInfo:
    """A plugin, as listings show it.

    Attributes:
        name: The name of its entry point, or the one given at run time.
        origin: Where it came from.
        status: Whether it is loaded.
        hooks: The hooks it implements.
        counts: How many records of each kind it brought.
        failure: Why it is not loaded, when it failed.
    """

    name: str
    origin: Origin
    status: Status
    hooks: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    failure: Failure | None = None

    @property
    def version(self) -> str:
        """The version of the distribution that brought it; empty when there is none."""
        return self.origin.version


class PluginManager:
    """All plugins of a program, and the registry of what they brought.

    Args:
        ranks: Which plugins to load: ``"builtin"`` ones, ``"installed"`` ones, or both.
        disabled: Names of plugins to leave out; default: those in ``MILLPOND_DISABLE_PLUGINS``, comma-separated.
        strict: Raise if a plugin fails; default: whether ``MILLPOND_STRICT_PLUGINS`` is set, and not to 0.

    Attributes:
        registry: What the loaded plugins brought.
        failures: Why others are not loaded.

    Raises:
        PluginError: A plugin failed, and ``strict`` holds.
    """

    def __init__(
        self,
        *,
        ranks: Iterable[Rank] = ("builtin", "installed"),
        disabled: Iterable[str] | None = None,
        strict: bool | None = None,
    ) -> None:
        self.registry: Final = Registry()
        self.failures: Final[list[Failure]] = []
        self._infos: Final[list[PluginInfo]] = []
        self._lock: Final = RLock()
        self._pluggy: Final = pluggy.PluginManager(PROJECT)
        self._pluggy.add_hookspecs(hookspecs)
        self._load(set(ranks), _disabled_by_environment() if disabled is None else set(disabled))
        self._report(_strict_by_environment() if strict is None else strict)

    def plugins(self) -> tuple[PluginInfo, ...]:
        """Every plugin that was found or registered, in the order of loading, with what it brought."""
        counts: dict[Origin, Counter[str]] = {}
        for catalog in self.registry.catalogs():
            for entry in catalog.entries(overridden=True):
                counts.setdefault(entry.origin, Counter())[catalog.kind] += 1
        return tuple(replace(info, counts=dict(counts.get(info.origin, {}))) for info in tuple(self._infos))

    def implementation(self, name: str) -> object | None:
        """The module or object of a plugin that is loaded; None for another, or for records without a plugin."""
        found: object | None = self._pluggy.get_plugin(name)
        return found

    def register(self, spec: Spec, plugin: str = RUNTIME) -> Entry[Any]:
        """Book one record of the running program; it goes before installed and built-in ones of the same name.

        Args:
            spec: The record.
            plugin: Under which plugin's name to book it; what it registered under that name before is replaced.

        Raises:
            TypeError: It is no record.
            ValueError: That plugin was loaded; its records are its own.
        """
        _checked(spec, Spec, "register()")
        origin = Origin(plugin=plugin, rank="runtime")
        with self._lock:
            if origin not in (info.origin for info in self._infos):
                self._check_name(plugin)
                self._infos.append(PluginInfo(name=plugin, origin=origin, status="ok"))
            return self.registry.register(spec, origin)

    def register_plugin(self, plugin: object, name: str) -> None:
        """Take a plugin that is at hand: a module or an object with ``@hookimpl`` functions.

        Raises:
            PluginError: It broke its contract; nothing of it is taken.
        """
        module = plugin.__name__ if isinstance(plugin, ModuleType) else type(plugin).__module__
        with self._lock:
            failure = self._take(Candidate(Origin(plugin=name, rank="runtime", module=module), lambda: plugin))
        if failure is not None:
            raise PluginError(str(failure)) from failure.error

    def _load(self, ranks: set[Rank], disabled: set[str]) -> None:
        found = candidates()
        for candidate in found:
            origin = candidate.origin
            if origin.rank in ranks and origin.plugin in disabled:
                self._infos.append(PluginInfo(name=origin.plugin, origin=origin, status="disabled"))
                self.registry.absent[origin.plugin] = "disabled"
            elif origin.rank in ranks:
                self._take(candidate)
        there = [candidate.origin.plugin for candidate in found]
        for name in sorted(disabled.difference(there)):
            logger.warning("plugin %r is to be left out, but there is none; there are: %s", name, ", ".join(there))

    def _report(self, strict: bool) -> None:
        if strict and self.failures:
            raise PluginError("; ".join(map(str, self.failures))) from self.failures[0].error
        for failure in self.failures:
            logger.warning("%s", failure)
            logger.debug("plugin %s failed here:", failure.plugin, exc_info=failure.error)

    def _take(self, candidate: Candidate) -> Failure | None:
        """Take a plugin whole; or book why not, and leave no trace of it."""
        origin, plugin = candidate.origin, None
        try:
            with _stage("register"):
                _check_reserved(origin.plugin)
                self._check_name(origin.plugin)
            with _stage("import"), _watched(origin):
                plugin = candidate.load()
            with _stage("version"):
                _check_version(plugin)
            with _stage("register"):
                self._check_new(plugin)
            with _stage("hook"), _watched(origin):
                self._check_hooks(plugin)
                self._pluggy.register(plugin, origin.plugin)
                given = self._drain(plugin)
            with _stage("value"):
                specs = [_checked(value, HOOKS[hook], hook) for hook, values in given for value in _each(values, hook)]
            with _stage("register"):
                _check_unique(specs)
        except _RefusedError as refused:
            return self._refuse(origin, plugin, refused)
        for spec in specs:
            self.registry.register(spec, origin)
        self.registry.absent.pop(origin.plugin, None)
        hooks = tuple(hook for hook, _ in given)
        self._infos.append(PluginInfo(name=origin.plugin, origin=origin, status="ok", hooks=hooks))
        return None

    def _refuse(self, origin: Origin, plugin: object, refused: "_RefusedError") -> Failure:
        # Some versions of pluggy register the hooks that come before the one they refuse.
        if plugin is not None and self._pluggy.get_plugin(origin.plugin) is plugin:
            self._pluggy.unregister(plugin)
        failure = Failure(origin.plugin, refused.stage, refused.error, origin)
        self.failures.append(failure)
        self._infos.append(PluginInfo(name=origin.plugin, origin=origin, status="failed", failure=failure))
        self.registry.absent.setdefault(origin.plugin, "failed")
        return failure

    def _check_name(self, name: str) -> None:
        if not name or "/" in name:
            raise ValueError(f"{name!r} is no name for a plugin: it stands before the slash in plugin/NAME")
        taken = next((info.origin for info in self._infos if info.name == name and info.status == "ok"), None)
        if taken is not None:
            raise ValueError(f"there is a plugin of that name already, {taken}; name this one otherwise")

    def _check_new(self, plugin: object) -> None:
        if self._pluggy.is_registered(plugin):
            raise ValueError(f"it is loaded already, under the name {self._pluggy.get_name(plugin)!r}")

    def _check_hooks(self, plugin: object) -> None:
        """Refuse what pluggy would take in silence: misspelled hooks, forgotten markers, wrappers."""
        marked = {name: self._pluggy.parse_hookimpl_opts(plugin, name) for name in dir(plugin)}
        for name, options in marked.items():
            if options is None:
                if name in HOOKS:
                    raise PluginError(f"{name} lacks @hookimpl")
                continue
            hook = options.get("specname") or name
            if hook not in HOOKS and not options.get("optionalhook"):
                close = " or ".join(get_close_matches(hook, HOOKS)) or f"one of {', '.join(HOOKS)}"
                raise PluginError(
                    f"there is no hook {hook!r}; did you mean {close}? "
                    "One that only a newer Millpond has is let through as @hookimpl(optionalhook=True)"
                )
            if options.get("wrapper") or options.get("hookwrapper"):
                raise PluginError(f"{name} wraps a hook, but each plugin is asked on its own: there is nothing to wrap")
        if not any(marked.values()):
            raise PluginError(f"{plugin!r} implements no hook; there are: {', '.join(HOOKS)}")

    def _drain(self, plugin: object) -> list[tuple[str, object]]:
        """What each implementation in the plugin gives: a list, or what it returned in place of records."""
        given: list[tuple[str, object]] = []
        for hook in HOOKS:
            for implementation in getattr(self._pluggy.hook, hook).get_hookimpls():
                if implementation.plugin is plugin:
                    returned = implementation.function()
                    given.append((hook, list(returned) if isinstance(returned, Iterable) else returned))
        return given


class _RefusedError(Exception):
    """Carries why a plugin is not taken, and at which stage."""

    def __init__(self, stage: Stage, error: BaseException) -> None:
        super().__init__(stage)
        self.stage: Final = stage
        self.error: Final = error


@contextmanager
def _stage(stage: Stage) -> Iterator[None]:
    try:
        yield
    except (Exception, SystemExit) as error:
        raise _RefusedError(stage, error) from error


def _watched(origin: Origin) -> AbstractContextManager[None]:
    """What is around the code of a plugin that is not built in: its prints go to stderr, and a hang is named."""
    return nullcontext() if origin.rank == "builtin" else importing(f"plugin {origin} ({origin.module})")


def _check_reserved(name: str) -> None:
    if name == RUNTIME:
        raise ValueError(f"the name {RUNTIME!r} is kept for what a program registers; name the plugin otherwise")


def _check_version(plugin: object) -> None:
    wanted = getattr(plugin, "MILLPOND_API", API_VERSION)
    if wanted != API_VERSION:
        way_out = "update the plugin" if isinstance(wanted, int) and wanted < API_VERSION else "update Millpond"
        raise PluginError(f"MILLPOND_API = {wanted!r}, but this is version {API_VERSION}; {way_out}")


def _each(values: object, hook: str) -> list[object]:
    if not isinstance(values, list):
        raise TypeError(f"{hook} returned {values!r}; it should yield {HOOKS[hook].__name__} records")
    return values


def _checked(value: object, record: type[Spec], hook: str) -> Spec:
    if not isinstance(value, record):
        raise TypeError(f"{hook} gave {value!r}; it takes {record.__name__} records")
    if not isinstance(value.name, str) or not value.name.strip():
        raise TypeError(f"{hook} gave a record with the name {value.name!r}; a name is text, and not empty")
    return value


def _check_unique(specs: Iterable[Spec]) -> None:
    for (kind, name), count in Counter((spec.kind, spec.name) for spec in specs).items():
        if count > 1:
            raise ValueError(f"it names the {kind} {name!r} {count} times")


def _disabled_by_environment() -> set[str]:
    return {name.strip() for name in os.environ.get("MILLPOND_DISABLE_PLUGINS", "").split(",") if name.strip()}


def _strict_by_environment() -> bool:
    return os.environ.get("MILLPOND_STRICT_PLUGINS", "0").strip() not in ("", "0")


class Process:
    """Holds the plugin manager of a process, which is made when it is first asked for."""

    def __init__(self) -> None:
        self._lock: Final = RLock()
        self._loading = False
        self._manager: PluginManager | None = None

    def manager(self) -> PluginManager:
        """The manager; threads that ask while plugins are being loaded wait.

        Raises:
            PluginError: A plugin asks, at its import.
        """
        with self._lock:
            if self._loading:
                raise PluginError("plugins are being loaded: a plugin names what it brings by hooks, not at its import")
            if self._manager is None:
                self._loading = True
                try:
                    self._manager = PluginManager()
                finally:
                    self._loading = False
            return self._manager


_process = Process()


def get_plugin_manager() -> PluginManager:
    """The plugin manager of this process, made at the first call."""
    return _process.manager()


def register(spec: Spec) -> None:
    """Book one record in this process, without packaging; it goes before installed and built-in ones of the same name.

    Example::

        import millpond
        from millpond.plugin.specs import PoolerSpec

        millpond.register(PoolerSpec(name="MIN", target=MinPooling, tasks=("embed",)))
    """
    get_plugin_manager().register(spec)
