"""Model files: a resolved model as TOML, which ``millpond inspect MODEL --resolved`` writes. Does not import torch."""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

from pydantic import ValidationError

from millpond.model.files import inside, read_text
from millpond.model.layers import Layer, adapter, paths
from millpond.model.pooler_settings import BY_TASK
from millpond.model.repository import Repository
from millpond.model.source import ModelReference
from millpond.model.spec import ModuleSettings
from millpond.types.compute import DTYPES
from millpond.types.config import JOINED_BY, PoolerConfig
from millpond.types.errors import CheckpointError, UnknownNameError, first_names
from millpond_checkpoints.file_hashes import file_hashes

if TYPE_CHECKING:
    from millpond.plugin.registry import Registry

CONFIG, ROUTES = "config", "routes"
NULL = {"null": True}  # TOML has no null
KEY_PART = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")
KEY = re.compile(rf"\s*(\[{{0,2}})\s*((?:{KEY_PART.pattern})(?:\s*\.\s*(?:{KEY_PART.pattern}))*)\s*[\]=]")
FOLLOWING: Mapping[str, tuple[str, ...]] = {
    "pooler_config.pooling_type": ("pooler_config.seq_pooling_type", "pooler_config.tok_pooling_type"),
    "embedding.sparse": ("pooler_config.seq_pooling_type", "modules.after"),
    "embedding.full_size": ("hf_config", "pooler_config.seq_pooling_type", "modules.before", "modules.after"),
    "embedding.size": ("embedding.full_size", "embedding.truncate_dim", "pooler_config.dimensions"),
    "multimodal.modalities": ("identity.architecture",),
    "multimodal.image_reader": ("identity.architecture",),
    "modules.listed": ("modules.before", "modules.after"),
    "prompting.adapters": ("hf_config", "identity.architecture"),
    "retrieval.routes": ("routes",),
}
"""The values that follow from others, which a file may state instead."""
NAMES = {
    "tasks": "task",
    "pooler_config.task": "task",
    "pooler_config.seq_pooling_type": "pooler",
    "pooler_config.tok_pooling_type": "pooler",
    "classification.activation": "activation",
    "identity.converter": "converter",
    "prompting.io_processor_plugin": "io_processor",
    "text.steps": "text_step",
}
"""The kind of the records that a path names; several names are a list, or are joined by "+"."""
MAY_BE_ZERO = ("classification.num_labels", "pooler_config.step_tag_id")
ANY_NUMBERS = ("hf_config", "modules.before", "modules.after", "text.template_settings")
OF_FILES = (
    *("identity.model", "identity.path", "identity.source"),
    *("classification.labels", "embedding.is_matryoshka", "embedding.matryoshka_dimensions"),  # of config.json
)
"""The values that are always those of the files."""


def stated_paths() -> list[str]:
    """Return the paths that a file may state; the others are read from the files of the model, or follow."""
    excluded = {*FOLLOWING, *OF_FILES}
    return [path for path in paths() if path not in excluded and not path.startswith("files.")]


@dataclass(frozen=True)
class ModelFile(ModelReference):
    """The settings of a model in a TOML file, which take precedence over the files of the model."""

    path: Path

    @cached_property
    def text(self) -> str:
        """The content of the file."""
        try:
            return read_text(self.path)
        except ValueError as error:
            raise CheckpointError(f"cannot read {self.path}: {error}") from error

    @cached_property
    def tables(self) -> dict[str, Any]:
        """The tables of the file."""
        try:
            return tomllib.loads(self.text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise CheckpointError(f"{self.path} is not valid TOML: {error}. Fix that line") from error

    @property
    def name(self) -> str:
        """The name of the model that the settings are for."""
        name = self._of_model("name")
        if not name:
            self.fail("model", "it must contain [model] with name = 'FOLDER OR ORG/NAME', the model of the settings")
        return name

    @property
    def revision(self) -> str | None:
        """The revision of the model on the hub; None if the file states none."""
        return self._of_model("revision") or None

    def stated(self, repository: Repository) -> tuple[Layer, ...]:
        """Return the layers of the model and of its routes.

        Raises:
            CheckpointError: If a value is invalid, or a file of the model is not the one that the settings are for.
        """
        self._check_files(repository.path)
        routes = self.tables.get(ROUTES, {})
        if not isinstance(routes, Mapping) or not all(isinstance(table, Mapping) for table in routes.values()):
            self.fail(ROUTES, "it must contain a table for each route")
        names = repository.layers.get("files.routes")
        known = () if names is None else {*names.by_input_type.values()} - {names.main}
        if unknown := next((name for name in routes if name not in known), None):
            self.fail(f"{ROUTES}.{unknown}", f"the model has no route of that name. Available: {_listed(known)}")
        main = {name: value for name, value in self.tables.items() if name not in ("model", ROUTES)}
        return (
            self._layer(repository, main),
            *(self._layer(repository, table, f"{ROUTES}.{name}.", name) for name, table in routes.items()),
        )

    def fail(self, path: str, message: str) -> Never:
        """Raise an error that names the line of a path.

        Raises:
            CheckpointError: Always.
        """
        line = self._lines.get(path)
        raise CheckpointError(f"{self.path}{'' if line is None else f', line {line}'}: {path}: {message}")

    @cached_property
    def _lines(self) -> dict[str, int]:
        """The first line of each table and key, by path."""
        lines: dict[str, int] = {}
        table: tuple[str, ...] = ()
        for number, line in enumerate(self.text.splitlines(), 1):
            match = KEY.match(line)
            if match is None:
                continue
            keys = tuple(it.strip("\"'") for it in KEY_PART.findall(match[2]))
            names = keys if match[1] else (*table, *keys)
            table = keys if match[1] else table
            for end in range(1, len(names) + 1):
                lines.setdefault(".".join(names[:end]), number)
        return lines

    def _of_model(self, key: str) -> str:
        model = self.tables.get("model", {})
        value = model.get(key, "") if isinstance(model, Mapping) else None
        if not isinstance(value, str):
            self.fail(f"model.{key}", "it must be a text")
        return value

    def _check_files(self, folder: Path) -> None:
        unknown = [key for key in self.tables["model"] if key not in ("name", "revision", "sha256")]
        if unknown:
            self.fail(f"model.{unknown[0]}", "Unknown key. Available: name, revision, sha256")
        expected = self.tables["model"].get("sha256")
        if expected is None:
            return
        if not isinstance(expected, Mapping):
            self.fail("model.sha256", "it must map the names of files to their SHA-256")
        current = dict(file_hashes(folder))
        differing = [name for name, digest in expected.items() if current.get(name) != digest]
        if differing:
            self.fail(
                "model.sha256",
                f"{first_names(differing, 3)} of {self.name} {'is' if len(differing) == 1 else 'are'} not the same as "
                f"when these settings were written. `millpond inspect {self.name} --resolved` writes them for the "
                "present files; without [model.sha256], files are not compared",
            )

    def _layer(
        self, repository: Repository, table: Mapping[str, Any], prefix: str = "", route: str | None = None
    ) -> Layer:
        values, keys = {}, {}
        for path, content in _flat(table):
            key = f"{prefix}{CONFIG if path == 'hf_config' else path}"
            try:
                values[path] = _read(path, content, repository)
            except (TypeError, ValueError, UnknownNameError) as error:
                self.fail(key, _reason(error))
            if key in self._lines:
                keys[path] = f"line {self._lines[key]}"
        if "identity.architecture" not in values and any(path.startswith("identity.") for path in values):
            self.fail(f"{prefix}identity", "it needs architecture")
        try:
            PoolerConfig(**{path.partition(".")[2]: it for path, it in values.items() if path.startswith("pooler_")})
        except ValidationError as error:
            self.fail(f"{prefix}pooler_config", _reason(error))
        return Layer(self.path.name, values, keys, is_request=True, route=route)


def plain(value: Any) -> Any:
    """Return a value as objects, lists and scalars; None in fields of dataclasses is left out, which is the default."""
    if is_dataclass(value) and not isinstance(value, type):
        named = {it.name: getattr(value, it.name) for it in fields(value)}
        return {name: plain(it) for name, it in named.items() if it is not None}
    if isinstance(value, Mapping):
        return {str(name): plain(it) for name, it in value.items()}
    if isinstance(value, list | tuple):
        return [plain(it) for it in value]
    return value.as_posix() if isinstance(value, Path) else value


def _flat(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the values of a table by path."""
    groups = {path.partition(".")[0] for path in paths() if "." in path}
    for name, value in table.items():
        if name in groups and isinstance(value, Mapping):
            yield from ((f"{name}.{key}", it) for key, it in value.items())
        else:
            yield ("hf_config" if name == CONFIG else name), value


def _read(path: str, content: Any, repository: Repository) -> Any:
    """Return a value after all checks.

    Raises:
        ValueError: If the path or the value is invalid.
        TypeError: If it contains a date.
        UnknownNameError: If no plugin provides what it names.
    """
    _check_path(path)
    content = _with_nulls(content)
    value = adapter(path).validate_json(json.dumps(content), strict=True)
    unknown = next(_unknown(content, plain(value)), None)
    if unknown is not None:
        raise ValueError(f"Unknown key {unknown!r}")
    if path == "dtype" and value not in DTYPES:
        raise ValueError(f"expected {' or '.join(DTYPES)}; got {value!r}")
    least = 1 if isinstance(value, int) and path not in MAY_BE_ZERO else 0
    number = min(_integers(plain(value)), default=least) if path not in ANY_NUMBERS else least
    if number < least:
        raise ValueError(f"numbers must be at least {least}; got {number}")
    _check_names(path, value, repository.registry)
    return _with_folder(value, repository)


def _check_names(path: str, value: Any, registry: "Registry") -> None:
    """Check that plugins provide what a value names.

    Raises:
        UnknownNameError: If they do not.
    """
    named = [(NAMES[path], value)] if path in NAMES else []
    if path == BY_TASK:
        named = [("task", tuple(value)), *(("pooler", name) for name in value.values())]
    for kind, names in named:
        for name in names.split(JOINED_BY) if isinstance(names, str) else names or ():
            registry.catalog(kind).get(name)


def _check_path(path: str) -> None:
    """Check that a file may state a path.

    Raises:
        ValueError: If it may not.
    """
    if path in FOLLOWING:
        raise ValueError(f"it follows from {', '.join(FOLLOWING[path])}: state these, and remove it")
    known = stated_paths()
    if path not in known:
        close = get_close_matches(path, known, n=1)
        of_group = [it for it in known if it.startswith(f"{path.partition('.')[0]}.")] or known
        hint = f"; did you mean {close[0]}?" if close else f". Available: {_listed(of_group)}"
        raise ValueError(f"Unknown key{hint}")


def _with_folder(value: Any, repository: Repository) -> Any:
    """Return a value whose modules have absolute paths.

    Raises:
        UnknownNameError: If no plugin provides a module.
        CheckpointError: If a path is outside the folder of the model.
    """
    if isinstance(value, ModuleSettings):
        repository.registry.modules.get(value.type)
        return replace(value, path=inside(repository.path, value.path.as_posix(), written_in=Path("a module")))
    return tuple(_with_folder(it, repository) for it in value) if isinstance(value, tuple) else value


def _with_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return None if value == NULL else {key: _with_nulls(it) for key, it in value.items()}
    return [_with_nulls(it) for it in value] if isinstance(value, list) else value


def _unknown(content: Any, known: Any) -> Iterator[str]:
    """Yield the keys that are not part of the value that was read."""
    if isinstance(content, dict) and isinstance(known, dict):
        yield from (key for key, it in content.items() if key not in known and it is not None)
        yield from chain.from_iterable(_unknown(it, known[key]) for key, it in content.items() if key in known)
    elif isinstance(content, list) and isinstance(known, list):
        yield from chain.from_iterable(map(_unknown, content, known))


def _integers(value: Any) -> Iterator[int]:
    """Yield the integers in a value."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    yield from chain.from_iterable(map(_integers, inner))
    if isinstance(value, int) and not isinstance(value, bool):
        yield value


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        key = "".join(f"{it}: " for it in first["loc"] if isinstance(it, str))
        return f"{key}{first['msg'].removeprefix('Value error, ')}; got {first['input']!r:.80}"
    return "dates and times are not supported" if isinstance(error, TypeError) else str(error)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
