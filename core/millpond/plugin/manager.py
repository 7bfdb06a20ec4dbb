"""Loads plugins independently: a broken plugin does not affect the others.

Pluggy provides the markers, the validation of hooks and ``get_hookimpls()``. Its loader is not used, because it raises
the exception of the first broken plugin.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from itertools import islice
from logging import getLogger
from threading import RLock
from types import ModuleType
from typing import Any, Final, Literal

import pluggy

from millpond.plugin.discovery import Candidate, candidates
from millpond.plugin.hookspecs import API_VERSION, HOOKS, HOOKSPECS, PROJECT, hook_of
from millpond.plugin.output import importing
from millpond.plugin.registry import Entry, Origin, Rank, Registry
from millpond.plugin.specs import Spec
from millpond.plugin.specs.base import wrong_types
from millpond.types.errors import PluginError, quoted

Stage = Literal["import", "version", "hook", "value", "register"]
Status = Literal["ok", "failed", "disabled"]

RUNTIME: Final = "runtime"
"""The plugin name of records that a program registers without a plugin name."""

MAX_RECORDS: Final = 10_000  # per hook: a generator that never ends would fill the memory
MAX_NAME_CHARS: Final = 200

logger = getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """The reason that a plugin is not loaded.

    Attributes:
        origin: The origin of the plugin.
        stage: The stage that failed: its import, its API version, a hook, a value of a hook, or its registration.
        error: The exception.
    """

    origin: Origin
    stage: Stage
    error: BaseException

    def __str__(self) -> str:
        """Return the failure in one line."""
        reason = " ".join(quoted(self.error).split())
        return f"plugin {self.origin} is not loaded, it failed at {self.stage}: {reason}"


@dataclass(frozen=True, kw_only=True)
class PluginInfo:
    """A plugin in listings.

    Attributes:
        name: The name of its entry point, or that passed at run time.
        origin: Its origin.
        status: "ok", "failed" or "disabled".
        hooks: The hooks that it implements.
        counts: The number of its records, by kind.
        failure: The reason that it is not loaded, if it failed.
    """

    name: str
    origin: Origin
    status: Status
    hooks: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    failure: Failure | None = None


class PluginManager:
    """All plugins of a program, and the registry of their records.

    Args:
        ranks: The plugins to load: ``"builtin"``, ``"installed"``, or both.
        disabled: Names of plugins that are not loaded (default: the names in ``MILLPOND_DISABLE_PLUGINS``,
            comma-separated).
        strict: True to raise if a plugin fails (default: True if ``MILLPOND_STRICT_PLUGINS`` is set and not 0).

    Attributes:
        registry: The records of the loaded plugins.
        failures: The reasons that other plugins are not loaded.

    Raises:
        PluginError: If a plugin failed and ``strict`` is True.
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
        self._kinds: Final[set[str]] = set()
        self._load(set(ranks), _disabled_by_environment() if disabled is None else set(disabled))
        self._report(_strict_by_environment() if strict is None else strict)

    def plugins(self) -> tuple[PluginInfo, ...]:
        """Return all plugins, in the order of loading, with the number of their records."""
        counts: dict[Origin, Counter[str]] = {}
        for catalog in self.registry.catalogs():
            for entry in catalog.entries(overridden=True):
                counts.setdefault(entry.origin, Counter())[catalog.kind] += 1
        return tuple(replace(info, counts=dict(counts.get(info.origin, {}))) for info in tuple(self._infos))

    def implementation(self, name: str) -> object | None:
        """Return the module or object of a loaded plugin; None if it is not loaded or only registered records."""
        plugin: object | None = self._pluggy.get_plugin(name)
        return plugin

    def register(self, spec: Spec, plugin: str = RUNTIME) -> Entry[Any]:
        """Register a record of the running program, with precedence over installed and built-in ones of the same name.

        Args:
            spec: The record.
            plugin: The plugin name of the record; it replaces a record with the same name of that plugin.

        Raises:
            TypeError: If it is not a record.
            ValueError: If a plugin with this name is already loaded.
        """
        _checked(spec, HOOKS.get(hook_of(getattr(spec, "kind", "")), Spec), "register()")
        origin = Origin(plugin=plugin, rank="runtime")
        with self._lock:
            if origin not in (info.origin for info in self._infos):
                self._check_name(plugin)
                self._infos.append(PluginInfo(name=plugin, origin=origin, status="ok"))
            return self.registry.register(spec, origin)

    def register_plugin(self, plugin: object, name: str) -> None:
        """Register a plugin: a module or an object with ``@hookimpl`` functions.

        Raises:
            PluginError: If it violates its contract; none of its records are registered.
        """
        module = plugin.__name__ if isinstance(plugin, ModuleType) else type(plugin).__module__
        with self._lock:
            failure = self._take(Candidate(Origin(plugin=name, rank="runtime", module=module), lambda: plugin))
        if failure is not None:
            raise PluginError(str(failure)) from failure.error

    def _load(self, ranks: set[Rank], disabled: set[str]) -> None:
        installed = candidates()
        for candidate in installed:
            origin = candidate.origin
            if origin.rank in ranks and origin.plugin in disabled:
                self._infos.append(PluginInfo(name=origin.plugin, origin=origin, status="disabled"))
                self.registry.absent[origin.plugin] = "disabled"
            elif origin.rank in ranks:
                self._take(candidate)
        names = [candidate.origin.plugin for candidate in installed]
        for name in sorted(disabled.difference(names)):
            message = "MILLPOND_DISABLE_PLUGINS names an unknown plugin %r. Installed: %s"
            logger.warning(message, name, ", ".join(names))

    def _report(self, strict: bool) -> None:
        if strict and self.failures:
            raise PluginError("; ".join(map(str, self.failures))) from self.failures[0].error
        for failure in self.failures:
            logger.warning("%s", failure)
            logger.debug("plugin %s failed here:", failure.origin.plugin, exc_info=failure.error)

    def _take(self, candidate: Candidate) -> Failure | None:
        """Register all records of a plugin, or record its failure and register none."""
        origin, plugin = candidate.origin, None
        is_builtin = origin.rank == "builtin"
        stage: Stage = "register"
        try:
            self._check_name(origin.plugin, is_reserved=origin.plugin == RUNTIME)
            with nullcontext() if is_builtin else importing(f"plugin {origin} ({origin.module})"):
                stage = "import"
                plugin = candidate.load()
                stage = "version"
                _check_version(plugin)
                stage = "register"
                self._check_new(plugin)
                stage = "hook"
                self._add_kinds()
                self._check_hooks(plugin)
                self._pluggy.register(plugin, origin.plugin)
                results = self._call_hooks(plugin)
            stage = "value"
            specs = [
                _checked(value, HOOKS[hook], hook, every_field=not is_builtin)
                for hook, values in results
                for value in _each(values, hook)
            ]
            stage = "register"
            _check_unique(specs)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  a plugin may raise anything
            return self._refuse(Failure(origin, stage, error), plugin)
        for spec in specs:
            self.registry.register(spec, origin)
        self.registry.absent.pop(origin.plugin, None)
        hooks = tuple(hook for hook, _ in results)
        self._infos.append(PluginInfo(name=origin.plugin, origin=origin, status="ok", hooks=hooks))
        return None

    def _refuse(self, failure: Failure, plugin: object) -> Failure:
        origin = failure.origin
        # Some versions of pluggy register the hooks before the one that they refuse.
        if plugin is not None and self._pluggy.get_plugin(origin.plugin) is plugin:
            self._pluggy.unregister(plugin)
        self.failures.append(failure)
        self._infos.append(PluginInfo(name=origin.plugin, origin=origin, status="failed", failure=failure))
        self.registry.absent.setdefault(origin.plugin, "failed")
        return failure

    def _check_name(self, name: str, *, is_reserved: bool = False) -> None:
        if is_reserved:
            raise ValueError(
                f"the plugin name {name!r} is reserved for records of the running program. Use another name"
            )
        if not name or "/" in name or not name.isprintable():
            message = "it must not be empty, or contain control characters or a slash, as in plugin/NAME"
            raise ValueError(f"invalid plugin name {name!r}: {message}")
        taken = next((info.origin for info in self._infos if info.name == name and info.status == "ok"), None)
        if taken is not None:
            raise ValueError(f"a plugin with this name is already loaded: {taken}. Use another name")

    def _check_new(self, plugin: object) -> None:
        if self._pluggy.is_registered(plugin):
            raise ValueError(f"it is already loaded with the name {self._pluggy.get_name(plugin)!r}")

    def _add_kinds(self) -> None:
        """Add the hooks that kits have declared since the last call."""
        added = {name: hook for name, hook in HOOKSPECS.items() if name not in self._kinds}
        if added:
            self._pluggy.add_hookspecs(type("Kinds", (), added))
            self._kinds.update(added)

    def _check_hooks(self, plugin: object) -> None:
        """Raise PluginError for mistakes that pluggy ignores: misspelled hooks, missing markers, wrappers."""
        marked = {name: self._pluggy.parse_hookimpl_opts(plugin, name) for name in dir(plugin)}
        for name, options in marked.items():
            if options is None:
                if name in HOOKS and getattr(plugin, name) is not HOOKSPECS[name]:
                    raise PluginError(f"{name} lacks @hookimpl")
                continue
            hook = options.get("specname") or name
            if hook not in HOOKS and not options.get("optionalhook"):
                close = get_close_matches(hook, HOOKS)
                hint = f"Did you mean {' or '.join(close)}?" if close else f"Available: {', '.join(HOOKS)}."
                raise PluginError(
                    f"Unknown hook {hook!r}. {hint} Mark a hook of a newer Millpond with @hookimpl(optionalhook=True)"
                )
            if options.get("wrapper") or options.get("hookwrapper"):
                raise PluginError(
                    f"{name} is a hook wrapper, which is not supported: hooks are called for each plugin separately"
                )
        if not any(marked.values()):
            raise PluginError(f"{plugin!r} implements no hook. Available: {', '.join(HOOKS)}")

    def _call_hooks(self, plugin: object) -> list[tuple[str, object]]:
        """Call the hooks of the plugin; return a list for each, or the value that is not iterable."""
        results: list[tuple[str, object]] = []
        for hook in HOOKS:
            for implementation in getattr(self._pluggy.hook, hook).get_hookimpls():
                if implementation.plugin is plugin:
                    returned = implementation.function()
                    values = islice(returned, MAX_RECORDS + 1) if isinstance(returned, Iterable) else None
                    results.append((hook, returned if values is None else list(values)))
        return results


def _check_version(plugin: object) -> None:
    required = getattr(plugin, "MILLPOND_API", API_VERSION)
    if required != API_VERSION:
        fix = "update the plugin" if isinstance(required, int) and required < API_VERSION else "update Millpond"
        raise PluginError(f"MILLPOND_API = {required!r}, but this is version {API_VERSION}; {fix}")


def _each(values: object, hook: str) -> list[object]:
    if not isinstance(values, list):
        raise TypeError(f"{hook}: expected a generator of {HOOKS[hook].__name__} records, got {values!r}")
    if len(values) > MAX_RECORDS:
        raise PluginError(f"{hook} yields more than {MAX_RECORDS} records")
    return values


def is_record(value: object, record: type[Spec]) -> bool:
    """Return True for a record of a type, and not of a subclass that claims another kind."""
    return isinstance(value, record) and HOOKS.get(hook_of(getattr(value, "kind", ""))) is record


def _checked(value: object, record: type[Spec], hook: str, *, every_field: bool = True) -> Spec:
    """Check the type and the name of a record, and its fields: a wrong type would fail in code of other components."""
    if not isinstance(value, record) or not is_record(value, record):
        raise TypeError(f"{hook}: expected {record.__name__} records, got {value!r}")
    if not isinstance(value.name, str) or not value.name.strip():
        raise TypeError(f"{hook}: the name of a record must be text that is not empty, got {value.name!r}")
    if not every_field:
        return value
    if not value.name.isprintable() or len(value.name) > MAX_NAME_CHARS:
        limits = f"at most {MAX_NAME_CHARS} characters and none of them a control character"
        raise ValueError(f"{hook}: the name of a record must have {limits}, got {value.name!r:.80}")
    for wrong in wrong_types(value, record):
        message = f"{record.__name__}({value.name!r}): {wrong.field}={wrong.value!r:.80} has the wrong type"
        raise TypeError(f"{hook}: {message}; expected {wrong.declared}")
    return value


def _check_unique(specs: Iterable[Spec]) -> None:
    for (kind, name), count in Counter((spec.kind, spec.name) for spec in specs).items():
        if count > 1:
            raise ValueError(f"it registers the {kind} {name!r} {count} times")


def _disabled_by_environment() -> set[str]:
    return {name.strip() for name in os.environ.get("MILLPOND_DISABLE_PLUGINS", "").split(",") if name.strip()}


def _strict_by_environment() -> bool:
    return os.environ.get("MILLPOND_STRICT_PLUGINS", "0").strip() not in ("", "0")


class Process:
    """The plugin manager of a process, created on first use."""

    def __init__(self) -> None:
        self._lock: Final = RLock()
        self._loading = False
        self._manager: PluginManager | None = None

    def manager(self) -> PluginManager:
        """Return the manager; other threads wait while plugins are being loaded.

        Raises:
            PluginError: If a plugin calls it during its import.
        """
        with self._lock:
            if self._loading:
                raise PluginError(
                    "plugins are being loaded: a plugin must register its components in hooks, not at its import"
                )
            if self._manager is None:
                self._loading = True
                try:
                    self._manager = PluginManager()
                finally:
                    self._loading = False
            return self._manager


_process = Process()


def get_plugin_manager() -> PluginManager:
    """Return the plugin manager of this process, created at the first call."""
    return _process.manager()


def register(spec: Spec) -> None:
    """Register a record in this process, with precedence over installed and built-in ones of the same name.

    Example::

        import millpond
        from millpond.plugin.specs import PoolerSpec

        millpond.register(PoolerSpec(name="MIN", target=MinPooling, tasks=("embed",)))
    """
    get_plugin_manager().register(spec)
