"""The fields of ``ArchitectureSpec`` by their names before 0.2, with a DeprecationWarning.

Flat fields such as ``size_keys`` are now in groups; published models and fallbacks are separate records.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from millpond.compat.warn import warn_caller

if TYPE_CHECKING:
    from millpond.plugin.specs import ArchitectureSpec, FallbackSpec, PublishedModelSpec, Spec

T = TypeVar("T")

GROUPED: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "pooling_key": ("pooling", "config_key"),
        "size_keys": ("output", "size_keys"),
        "num_labels": ("output", "num_labels"),
        "sized_by_labels": ("output", "size_from_num_labels"),
        "token_weights": ("output", "token_weights"),
        "classifier_activation": ("output", "activation"),
        "positions": ("text", "positions"),
        "fills_length": ("text", "pad_to_max_length"),
        "lower_case": ("text", "lowercase"),
        "defaults": ("checkpoint", "config_defaults"),
        "extra_weights": ("checkpoint", "extra_files"),
        "instead_of": ("checkpoint", "supersedes"),
        "adapters_key": ("checkpoint", "adapters_key"),
        "adapter_folders": ("checkpoint", "adapter_folders"),
        "image_reader": ("extras", "image_processor"),
        "late_interaction": ("extras", "late_interaction"),
    }
)
SEPARATE: Final = ("published", "implementation", "stands_in_for", "describe")
"""Fields that are now records of other kinds."""
FLAT: Final = frozenset({*GROUPED, *SEPARATE, "pooler_config"})
_KEPT: Final = "_separate_fields"
_POOLER: Final = MappingProxyType(
    {"seq_pooling_type": "type", "tok_pooling_type": "tok_type", "step_tag_id": "step_tag_id"}
)


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """The former record of a published model; ``PublishedModelSpec`` and its hook replace it."""

    name: str
    config: Mapping[str, object] = field(default_factory=dict, hash=False)
    named: str | None = None
    chat_template: str | None = None
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class ResolvesByDescribe:
    """The target of a fallback that is declared as an ``ArchitectureSpec`` with ``describe``.

    Attributes:
        spec: The record without the fields of other records.
        describe: The import string of the function, or None.
    """

    spec: "ArchitectureSpec"
    describe: str | None

    def __call__(self, name: str, config: Mapping[str, Any]) -> "ArchitectureSpec | str":
        """Return the record for a name, or the text with which the function refuses it."""
        from millpond.plugin.target import imported  # noqa: PLC0415  the records import this module

        stated = {} if self.describe is None else imported(self.describe)(name, config)
        return stated if isinstance(stated, str) else replace(self.spec, **{"name": name, **stated})


def accepts_flat_fields(record: type[T]) -> type[T]:
    """Accept the names of fields before 0.2 in the constructor and as attributes."""
    original: Callable[..., None] = record.__init__

    @wraps(original)
    def initialize(self: T, **fields: Any) -> None:
        flat = {name: fields.pop(name) for name in FLAT & fields.keys()}
        if isinstance(fields.get("pooling"), str) or ("pooling" in fields and fields["pooling"] is None):
            flat["pooling"] = fields.pop("pooling")
        if flat:
            _warn(flat)
            fields = _regrouped(fields, flat)
        original(self, **fields)
        separate = {name: flat[name] for name in SEPARATE if flat.get(name)}
        if separate:
            object.__setattr__(self, _KEPT, separate)

    def read(self: Any, name: str) -> Any:
        if name not in FLAT:
            message = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(message)
        _warn([name])
        if name in GROUPED:
            group, field_name = GROUPED[name]
            return getattr(getattr(self, group), field_name)
        if name == "pooler_config":
            return self.pooling.pooler_config()
        default = {"published": (), "stands_in_for": (), "implementation": "native"}.get(name)
        return vars(self).get(_KEPT, {}).get(name, default)

    record.__init__ = initialize  # type: ignore[method-assign, assignment]  # also accepts the former fields
    record.__getattr__ = read  # type: ignore[attr-defined]
    return record


def separate_records(spec: "Spec") -> "Iterator[Spec]":
    """Yield a record and the records of its flat fields; a fallback replaces the record."""
    kept = vars(spec).get(_KEPT)
    if kept is None:
        yield spec
        return
    from millpond.plugin.specs import ArchitectureSpec  # noqa: PLC0415  the package of records imports this module

    if not isinstance(spec, ArchitectureSpec):
        raise TypeError(f"{spec!r} is not an ArchitectureSpec")
    bare = replace(spec)
    yield from (_published(model, spec.name) for model in kept.get("published", ()))
    yield _fallback(bare, kept) if {"stands_in_for", "implementation"} & kept.keys() else bare


def _published(model: Any, architecture: str) -> "PublishedModelSpec":
    from millpond.plugin.specs import PublishedModelSpec  # noqa: PLC0415  as above

    return PublishedModelSpec(
        name=model.name,
        architecture=architecture,
        checkpoint_architecture=model.named,
        config=model.config,
        chat_template=model.chat_template,
        markers=model.marks,
    )


def _fallback(spec: "ArchitectureSpec", kept: Mapping[str, Any]) -> "FallbackSpec":
    from millpond.plugin.specs import FallbackSpec  # noqa: PLC0415  as above

    return FallbackSpec(
        name=spec.name,
        target=ResolvesByDescribe(spec, kept.get("describe")),
        summary=spec.summary,
        patterns=kept.get("stands_in_for", (spec.name,)),
        implementation=kept.get("implementation", "native"),
        tasks=spec.tasks,
    )


def _warn(names: "Mapping[str, object] | Sequence[str]") -> None:
    replacements = {name: ".".join(path) for name, path in GROUPED.items()} | {
        "pooling": "pooling=PoolingDefaults(...)",
        "pooler_config": "pooling.tok_type and pooling.settings",
        "published": "PublishedModelSpec and the hook register_published_models",
        **dict.fromkeys(SEPARATE[1:], "FallbackSpec and the hook register_fallbacks"),
    }
    moved = "; ".join(f"{name} is now {replacements[name]}" for name in sorted(names))
    warn_caller(f"ArchitectureSpec: {moved}")


def _regrouped(fields: dict[str, Any], flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the present fields for former ones; other fields of a group are kept."""
    from millpond.plugin.specs import architecture as records  # noqa: PLC0415  as above

    changes: dict[str, dict[str, Any]] = {}
    for name, (group, field_name) in GROUPED.items():
        if name in flat:
            changes.setdefault(group, {})[field_name] = flat[name]
    if "pooling" in flat:
        changes.setdefault("pooling", {})["type"] = flat["pooling"]
    if "pooler_config" in flat:
        settings = dict(flat["pooler_config"])
        pooling_fields = {_POOLER[key]: settings.pop(key) for key in _POOLER if key in settings}
        changes.setdefault("pooling", {}).update({**pooling_fields, "settings": settings})
    empty = {
        "pooling": records.PoolingDefaults(),
        "output": records.OutputShape(),
        "text": records.TextInput(),
        "checkpoint": records.CheckpointLayout(),
        "extras": records.ModelExtras(),
    }
    return {
        **fields,
        **{group: replace(fields.get(group, empty[group]), **values) for group, values in changes.items()},
    }
