"""The text of a model file: a resolved model as TOML, with the origin of each value as a comment.

It is written here and not by a library, since comments are most of its content and values need few lines.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from millpond.loading.arguments import Arguments
from millpond.loading.build import resolve_model
from millpond.model.layers import DEFAULT, USER, Layer, paths
from millpond.model.model_layers import ModelLayers
from millpond.model.pooler_settings import BY_TASK
from millpond.model.pooler_settings import GROUP as POOLER_GROUP
from millpond.model.resolve import CONFIG_PATH, read_route
from millpond.model.spec import ModuleSettings
from millpond.plugin.registry import Entry, Registry
from millpond_checkpoints.file_hashes import file_hashes
from millpond_checkpoints.model_file import CONFIG, FOLLOWING, OF_FILES, ROUTES, plain, stated_paths
from millpond_cli.inspect.pooling import ORIGINS

BARE_KEY = re.compile(r"[\w-]+", re.ASCII)
ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
MAX_SHORT_ESCAPE = 0xFFFF  # \uXXXX; larger code points are written as \UXXXXXXXX
RULES = {**FOLLOWING, BY_TASK: ("pooler_config.seq_pooling_type", "pooler_config.tok_pooling_type")}
TITLE = "# Each value with its origin. A line that begins with # is a default, or follows from other values."


def model_file(registry: Registry, model: str, arguments: Arguments) -> str:
    """Return the settings of a model as TOML, which loads as the same model.

    Raises:
        MillpondError: If the model cannot be served.
    """
    layers, _ = resolve_model(registry, model, arguments)
    repository, routes = layers.repository, layers.get("files.routes")
    source = {"name": repository.model, "revision": repository.revision, "sha256": dict(file_hashes(repository.path))}
    lines = [TITLE, *_Settings(layers, arguments).lines()]
    lines += _table("model", {key: it for key, it in source.items() if it is not None})
    for name in () if routes is None else sorted({*routes.by_input_type.values()} - {routes.main}):
        of_route = read_route(layers, name, arguments.load)
        header = f"{ROUTES}.{_key(name)}"
        lines += ["", f"[{header}]", *_Settings(of_route, arguments, f"{header}.").lines()]
    return "\n".join(lines)


@dataclass(frozen=True)
class _Settings:
    """The settings of a model, or of one of its routes, whose tables have a prefix."""

    layers: ModelLayers
    arguments: Arguments
    prefix: str = ""

    def lines(self) -> Iterator[str]:
        known = replace(self, layers=replace(self.layers, layers=(*self.layers, *self._choices())))
        groups = dict.fromkeys(path.rpartition(".")[0] for path in paths() if not path.startswith("files."))
        for group in sorted(groups):  # values without a group are first
            values, tables = known.group(group)
            if values or tables:
                yield from ("", f"[{self.prefix}{group}]") if group else ()
                yield from (*values, *tables)
        overrides = ", with the overrides of the command line" if self.arguments.load.hf_overrides else ""
        yield from _table(f"{self.prefix}{CONFIG}", self.layers.config.to_dict(), f"config.json{overrides}")

    def _choices(self) -> Iterator[Layer]:
        """Yield the choices of records, which no layer states."""
        registry, options = self.layers.registry, self.arguments.load
        architecture, converter = self.layers.architecture, self.layers.converter
        name = "identity.architecture"
        used = _name(architecture, registry.architectures.find(architecture.spec.name))
        yield Layer("config.json", {name: used}, {name: "architectures"})
        yield Layer(
            DEFAULT if options.model_impl == "auto" else USER, {"identity.implementation": self.layers.implementation}
        )
        if converter is not None:
            origin = f"the architecture {architecture.spec.name}" if options.convert == "auto" else USER
            used = _name(converter, registry.converters.find(converter.spec.name))
            yield Layer(origin, {"identity.converter": used})
        yield Layer((converter or architecture).label, {"tasks": self.layers.tasks})

    def group(self, group: str) -> tuple[list[str], list[str]]:
        """Return the lines of the values of a group, and of its tables."""
        values: list[str] = []
        tables: list[str] = []
        known = stated_paths()
        for path in paths():
            if path.rpartition(".")[0] != group or path in (CONFIG_PATH, *OF_FILES):
                continue
            value = plain(_relative(self._value(path), self.layers.repository.path))
            if value in (None, [], {}):
                continue
            name = _key(path.rpartition(".")[2])
            if path == BY_TASK and (deviating := self._deviating()):
                tables += _table(f"{self.prefix}{path}", deviating, "instead of the type for all tasks")
            if path not in known or path == BY_TASK or self.layers.find(path) is None:
                values.append(f"# {name} = {' '.join(_inline(value).split())}{_comment(self._origin(path))}")
            elif isinstance(value, Mapping):
                origins = {key: self._origin(path, key) for key in value} if path == "prompting.prompts" else {}
                tables += _table(f"{self.prefix}{path}", value, "" if origins else self._origin(path), origins)
            else:
                values.append(f"{name} = {_inline(value)}{_comment(self._origin(path))}")
        return values, tables

    def _deviating(self) -> dict[str, str]:
        """The pooling types of tasks that differ from the type for all tasks."""
        layers, pooled = self.layers, self.layers.model.pooling_types
        keys = {task: f"{POOLER_GROUP}.{layers.registry.tasks.get(task).spec.pooling_key}" for task in pooled}
        return {task: name for task, name in pooled.items() if layers.get(keys[task]) not in (None, name)}

    def _value(self, path: str) -> Any:
        """The value that the model is loaded with."""
        group, _, name = path.rpartition(".")
        value = getattr(getattr(self.layers.model, group) if group else self.layers.model, name)
        return [module.type for module in value] if path == "modules.listed" else value

    def _origin(self, path: str, key: str | None = None) -> str:
        if inputs := RULES.get(path):
            known = {it: f" ({self._origin(it)})" for it in inputs if self.layers.find(it) is not None}
            return "follows from " + ", ".join(f"{_shown(it)}{known.get(it, '')}" for it in inputs)
        origin = self.layers.origin(path, key)
        return "default" if origin == DEFAULT else ORIGINS.get(origin, origin)


def _shown(path: str) -> str:
    return CONFIG if path == CONFIG_PATH else path


def _name(used: Entry[Any], default: Entry[Any] | None) -> str:
    """The name of a record; with its plugin if the bare name is that of another record."""
    return used.qualified if default is not None and default.spec is not used.spec else used.spec.name


def _relative(value: Any, folder: Path) -> Any:
    """A value whose modules have paths in the folder of the model."""
    if isinstance(value, ModuleSettings):
        return replace(value, path=value.path.relative_to(folder))
    return [_relative(it, folder) for it in value] if isinstance(value, tuple) else value


def _table(
    header: str, values: Mapping[str, Any], origin: str = "", origins: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Yield the lines of a table, and of the tables in it."""
    yield from ("", f"[{header}]{_comment(origin)}")
    tables = {key: it for key, it in values.items() if isinstance(it, Mapping) and it}
    for key, value in values.items():
        if key not in tables:
            yield f"{_key(key)} = {_inline(value)}{_comment((origins or {}).get(key, ''))}"
    for key, value in tables.items():
        yield from _table(f"{header}.{_key(key)}", value)


def _key(name: str) -> str:
    return name if BARE_KEY.fullmatch(name) else _inline(name)


def _inline(value: Any) -> str:
    """A value in one line, or one line for each table in a list."""
    if value is None:
        return "{ null = true }"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{_printable(value, ESCAPES)}"'
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(key)} = {_inline(it)}' for key, it in value.items())} }}"
    if isinstance(value, list):
        lines = any(isinstance(it, Mapping) for it in value)
        items = [_inline(it) for it in value]
        return "".join(("[\n", *(f"  {it},\n" for it in items), "]")) if lines else f"[{', '.join(items)}]"
    return repr(value)


def _printable(text: str, escapes: Mapping[str, str]) -> str:
    return "".join(escapes.get(it) or (it if it.isprintable() else _escaped(ord(it))) for it in text)


def _escaped(code: int) -> str:
    return f"\\u{code:04x}" if code <= MAX_SHORT_ESCAPE else f"\\U{code:08x}"


def _comment(text: str) -> str:
    return f"  # {_printable(text, {})}" if text else ""
