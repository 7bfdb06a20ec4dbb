"""The order of the modules of a model of one vector a text: what is before Pooling, what after, what is refused."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from millpond.types.checkpoint import ModuleFacts
from millpond.types.errors import CheckpointError
from millpond_formats.sentence_transformers.module import (
    DENSE,
    DROPOUT,
    LAYER_POOLING,
    NORMALIZE,
    NORMALIZED,
    POOLED,
    SCORES,
    SPARSE_AUTOENCODER,
    STATIC,
    TOKENS,
    TRANSFORMERS,
    reads,
)

if TYPE_CHECKING:
    from millpond.plugin.registry import Registry

NEEDS_LENGTHS = "LSTM"
POOLING = ("Pooling", STATIC)
HOOK = "register_modules"


@dataclass(frozen=True)
class Supported:
    """The types of modules that plugins build.

    Attributes:
        before: Those that change the vectors of tokens before they are pooled.
        after: Those after pooling.
    """

    before: tuple[str, ...]
    after: tuple[str, ...]


def supported_modules(registry: "Registry") -> Supported:
    """The types of modules that plugins build, by their places."""
    specs = [entry.spec for entry in registry.modules.entries()]
    before, after = (tuple(spec.name for spec in specs if place in spec.places) for place in ("before", "after"))
    return Supported(before, after)


def pooling_of(modules: tuple[ModuleFacts, ...]) -> ModuleFacts | None:
    """The module that makes one vector of those of tokens; None if there is none."""
    return next((module for module in modules if module.type in POOLING), None)


def before_pooling(modules: tuple[ModuleFacts, ...], supported: Supported) -> tuple[ModuleFacts, ...]:
    """The modules between the transformer and Pooling, in order."""
    pooling = pooling_of(modules)
    if pooling is None:
        return ()
    return tuple(module for module in modules[: modules.index(pooling)] if module.type in supported.before)


def after_pooling(modules: tuple[ModuleFacts, ...]) -> tuple[ModuleFacts, ...]:
    """The modules after Pooling, in order, without a Normalize at the end.

    A Normalize before a SparseAutoEncoder becomes a setting of that one: vectors of tokens do not go through it.
    """
    pooling = pooling_of(modules)
    if pooling is None:
        return tuple(module for module in modules if module.type in (DENSE, SPARSE_AUTOENCODER))
    chain = _applied(modules[modules.index(pooling) + 1 :])
    code = next((module for module in chain if module.type == SPARSE_AUTOENCODER), None)
    rows = chain if code is None else chain[: chain.index(code)]
    behind = [] if code is None else [_normalizing(code, rows)]
    while rows and rows[-1].type == NORMALIZE:
        rows = rows[:-1]
    return (*rows, *behind)


def _normalizing(code: ModuleFacts, before: list[ModuleFacts]) -> ModuleFacts:
    """A SparseAutoEncoder, which normalises what it takes if a Normalize module is before it."""
    if not before or before[-1].type != NORMALIZE:
        return code
    return replace(code, config={**code.config, NORMALIZED: True})


def ends_normalized(modules: tuple[ModuleFacts, ...]) -> bool:
    """True if the last module is Normalize."""
    chain = _applied(modules)
    return bool(chain) and chain[-1].type == NORMALIZE


def check_chain(modules: tuple[ModuleFacts, ...], path: Path, supported: Supported) -> None:
    """Refuse modules whose order or input would mean something that is not supported.

    Args:
        modules: The modules, one of which pools.
        path: modules.json, for errors.
        supported: The types of modules that plugins build.

    Raises:
        CheckpointError: If there is one.
    """
    pooling = next(place for place, module in enumerate(modules) if module.type in POOLING)
    before, after = (*TRANSFORMERS, DROPOUT, *supported.before), (*supported.after, DROPOUT)
    for place, module in enumerate(modules):
        foreign = "." in module.type and place < pooling  # a transformer of somebody's own
        known = before if place < pooling else after
        if place != pooling and module.type not in known and not foreign:
            raise CheckpointError(_unknown(module, known, path, before=place < pooling))
        if place != pooling and module.type not in TRANSFORMERS:
            _check_input(module, path, before=place < pooling, is_last=place == len(modules) - 1)
    types = [module.type for module in modules]
    behind = types[types.index(SPARSE_AUTOENCODER) + 1 :] if SPARSE_AUTOENCODER in types else []
    if any(name not in (NORMALIZE, DROPOUT) for name in behind):
        message = (
            f"{path}: unsupported modules after {SPARSE_AUTOENCODER}: {', '.join(behind)}. Only Normalize may follow it"
        )
        raise CheckpointError(message)
    on_tokens = before_pooling(modules, supported)
    for module in on_tokens[1:]:
        if module.type == LAYER_POOLING:
            message = f"{module.path}: WeightedLayerPooling is supported as the first module after the transformer"
            raise CheckpointError(message)


def _applied(modules: tuple[ModuleFacts, ...]) -> list[ModuleFacts]:
    """The modules without those that do nothing when a model is served."""
    return [module for module in modules if module.type != DROPOUT]


def _unknown(module: ModuleFacts, known: tuple[str, ...], path: Path, *, before: bool) -> str:
    where = "before" if before else "after"
    why = "without it the results would not be those of the model"
    if module.type == NEEDS_LENGTHS and before:
        why = "sentence-transformers computes it after WordEmbeddings only, which give it the lengths of sentences"
    return (
        f"{path} names a module {module.type} {where} Pooling, which is not supported there: {why}. Supported are "
        f"{', '.join(known)}; take it out of the file to do without, or install a plugin that adds it by the hook "
        f"{HOOK}"
    )


def _check_input(module: ModuleFacts, path: Path, *, before: bool, is_last: bool) -> None:
    """Refuse a module that reads or writes something else than what the one before it made.

    The last one may write the scores, as that of a CrossEncoder does.
    """
    default = TOKENS if before and module.type != DENSE else POOLED
    expected = TOKENS if before else POOLED
    read = reads(module, default)
    written = module.config.get("module_output_name") or read
    if before and module.type == DROPOUT:
        return
    if is_last and not before and written == SCORES:
        written = expected
    if (read, written) != (expected, expected):
        where = "before" if before else "after"
        other = read if read != expected else written
        message = (
            f"{path} names a {module.type} module that reads or writes {other!r}: {where} Pooling, only {expected!r} "
            "is supported"
        )
        raise CheckpointError(message)
