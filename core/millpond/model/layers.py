"""Layers: what files, records and the caller state about a model, by path; the first that states a path wins."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from millpond.model.spec import FileSettings, ResolvedModel
from millpond.types.config import PoolerConfig

USER, DEFAULT = "user", "default"  # names of layers


@dataclass(frozen=True)
class Layer:
    """The values that one file, record or caller states.

    Attributes:
        name: The file's name in the checkpoint, such as ``1_Pooling/config.json``, or what else states the values.
        values: The values by path, such as ``embedding.truncate_dim``; None for a value that is not stated.
        keys: The keys of the file by path, for paths whose place in the file is not obvious.
        is_request: True if the caller states the values: rules about files and records do not change them.
        route: The route of a model with several routes that the values are for; None for the main route.
    """

    name: str
    values: Mapping[str, Any]
    keys: Mapping[str, str] = field(default_factory=dict)
    is_request: bool = False
    route: str | None = None

    def origin(self, path: str) -> str:
        """Return the file and the key of a value: ``config.json (hidden_size)``."""
        key = self.keys.get(path)
        return self.name if key is None else f"{self.name} ({key})"


@dataclass(frozen=True)
class Layers:
    """Layers in descending order of precedence."""

    layers: tuple[Layer, ...] = ()

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def find(self, path: str) -> Layer | None:
        """Return the first layer that states a path; None if no layer does."""
        for layer in self.layers:  # a loop, since every value of a model is looked up here
            if layer.values.get(path) is not None:
                return layer
        return None

    def get(self, path: str, default: Any = None) -> Any:
        """Return the value of a path, of the first layer that states it."""
        for layer in self.layers:
            value = layer.values.get(path)
            if value is not None:
                return value
        return default

    def merged(self, path: str) -> dict[str, Any]:
        """Return the mapping of a path, whose keys may come from several layers; a request replaces those below it."""
        merged: dict[str, Any] = {}
        for layer in reversed(self.layers):
            stated = layer.values.get(path)
            merged = {**({} if layer.is_request and stated is not None else merged), **(stated or {})}
        return merged

    def origin(self, path: str, key: str | None = None) -> str:
        """Return where a value comes from: the file and the key, or the name of the layer; "default" without a layer.

        Args:
            path: The path of the value.
            key: A key of a mapping whose keys come from several layers.
        """
        stating = (
            it for it in self.layers if it.values.get(path) is not None and (key is None or key in it.values[path])
        )
        layer = next(stating, None)
        return DEFAULT if layer is None else layer.origin(path)


def checked(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """Return layers whose paths are known and whose values have the right types.

    Raises:
        ValueError: Describes the first value that does not.
    """
    result = tuple(layers)
    for layer in result:
        if not isinstance(layer, Layer):
            message = f"{layer!r:.80}; expected Layer(name, values)"
            raise ValueError(message)  # noqa: TRY004  one type of error for all that is wrong with layers
        for path, value in layer.values.items():
            if value is not None:
                _check(path, value, layer.origin(path))
    return result


def _check(path: str, value: Any, origin: str) -> None:
    if path not in paths():
        close = get_close_matches(path, paths(), n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"available: {', '.join(paths())}"
        message = f"the unknown path {path!r} in {origin}; {hint}"
        raise ValueError(message)
    try:
        adapter(path).validate_python(value, strict=True)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        message = f"{path} stated as {value!r:.80} in {origin}: {reason[0].lower()}{reason[1:]}"
        raise ValueError(message) from None


@cache
def paths() -> Mapping[str, Any]:
    """Return the type of the value of each path: the fields of ``ResolvedModel`` and of ``FileSettings``."""
    types = {f"files.{name}": hint for name, hint in get_type_hints(FileSettings).items()}
    for name, hint in get_type_hints(ResolvedModel).items():
        if hint is PoolerConfig:
            types |= {f"{name}.{key}": it.rebuild_annotation() for key, it in PoolerConfig.model_fields.items()}
        elif is_dataclass(hint):
            hints = get_type_hints(hint)
            types |= {f"{name}.{it.name}": hints[it.name] for it in fields(hint)}
        else:
            types[name] = hint
    return types | {"hf_config": Mapping[str, Any]}


@cache
def adapter(path: str) -> TypeAdapter[Any]:
    """Return what checks and converts values of a path."""
    return TypeAdapter(paths()[path])
