"""Checks and splits the modules of a model that returns one vector per text: before, at and after Pooling."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from millpond.model.spec import ModuleSettings
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

LSTM = "LSTM"
POOLING = ("Pooling", STATIC)
HOOK = "register_modules"


@dataclass(frozen=True)
class Supported:
    """The module types that plugins provide.

    Attributes:
        before: The types that may come before pooling and change token vectors.
        after: The types that may come after pooling.
    """

    before: tuple[str, ...]
    after: tuple[str, ...]


def supported_modules(registry: "Registry") -> Supported:
    """Return the module types that plugins provide."""
    specs = [entry.spec for entry in registry.modules.entries()]
    before, after = (tuple(spec.name for spec in specs if position in spec.places) for position in ("before", "after"))
    return Supported(before, after)


def pooling_of(modules: tuple[ModuleSettings, ...]) -> ModuleSettings | None:
    """Return the module that pools token vectors; None without one."""
    return next((module for module in modules if module.type in POOLING), None)


def before_pooling(modules: tuple[ModuleSettings, ...], supported: Supported) -> tuple[ModuleSettings, ...]:
    """Return the modules between the transformer and Pooling, in order."""
    pooling = pooling_of(modules)
    if pooling is None:
        return ()
    return tuple(module for module in modules[: modules.index(pooling)] if module.type in supported.before)


def after_pooling(modules: tuple[ModuleSettings, ...]) -> tuple[ModuleSettings, ...]:
    """Return the modules after Pooling, in order, without a Normalize at the end.

    A Normalize before a SparseAutoEncoder becomes a setting of the SparseAutoEncoder, since token vectors are not
    normalized there.
    """
    pooling = pooling_of(modules)
    if pooling is None:
        return tuple(module for module in modules if module.type in (DENSE, SPARSE_AUTOENCODER))
    chain = _applied(modules[modules.index(pooling) + 1 :])
    autoencoder = next((module for module in chain if module.type == SPARSE_AUTOENCODER), None)
    rows = chain if autoencoder is None else chain[: chain.index(autoencoder)]
    sparse = [] if autoencoder is None else [_normalizing(autoencoder, rows)]
    while rows and rows[-1].type == NORMALIZE:
        rows = rows[:-1]
    return (*rows, *sparse)


def _normalizing(autoencoder: ModuleSettings, before: list[ModuleSettings]) -> ModuleSettings:
    """The SparseAutoEncoder, configured to normalize its input if the previous module is Normalize."""
    if not before or before[-1].type != NORMALIZE:
        return autoencoder
    return replace(autoencoder, config={**autoencoder.config, NORMALIZED: True})


def ends_normalized(modules: tuple[ModuleSettings, ...]) -> bool:
    """True if the last module is Normalize."""
    chain = _applied(modules)
    return bool(chain) and chain[-1].type == NORMALIZE


def check_chain(modules: tuple[ModuleSettings, ...], path: Path, supported: Supported) -> None:
    """Check the types, order and inputs of the modules.

    Args:
        modules: The modules, one of which pools.
        path: modules.json, for errors.
        supported: The module types that plugins provide.

    Raises:
        CheckpointError: If a module is not supported at its position.
    """
    pooling = next(index for index, module in enumerate(modules) if module.type in POOLING)
    before, after = (*TRANSFORMERS, DROPOUT, *supported.before), (*supported.after, DROPOUT)
    for index, module in enumerate(modules):
        is_custom = "." in module.type and index < pooling  # a transformer class that is not from sentence-transformers
        allowed = before if index < pooling else after
        if index != pooling and module.type not in allowed and not is_custom:
            raise CheckpointError(_unsupported(module, allowed, path, before=index < pooling))
        if index != pooling and module.type not in TRANSFORMERS:
            _check_input(module, path, before=index < pooling, is_last=index == len(modules) - 1)
    types = [module.type for module in modules]
    following = types[types.index(SPARSE_AUTOENCODER) + 1 :] if SPARSE_AUTOENCODER in types else []
    if any(name not in (NORMALIZE, DROPOUT) for name in following):
        message = (
            f"{path}: unsupported modules after {SPARSE_AUTOENCODER}: {', '.join(following)}. Only Normalize may follow"
        )
        raise CheckpointError(message)
    for module in before_pooling(modules, supported)[1:]:
        if module.type == LAYER_POOLING:
            message = f"{module.path}: WeightedLayerPooling must be the first module after the transformer"
            raise CheckpointError(message)


def _applied(modules: tuple[ModuleSettings, ...]) -> list[ModuleSettings]:
    """The modules without those that have no effect at inference."""
    return [module for module in modules if module.type != DROPOUT]


def _unsupported(module: ModuleSettings, allowed: tuple[str, ...], path: Path, *, before: bool) -> str:
    position = "before" if before else "after"
    reason = "Ignoring it would change the results"
    if module.type == LSTM and before:
        reason = "sentence-transformers supports it only after WordEmbeddings, which provides the sentence lengths"
    return (
        f"{path}: unsupported module {module.type} {position} Pooling. {reason}. Supported: {', '.join(allowed)}. "
        f"Remove it from the file, or install a plugin that provides it with {HOOK}"
    )


def _check_input(module: ModuleSettings, path: Path, *, before: bool, is_last: bool) -> None:
    """Check that a module reads and writes the output of the previous module.

    The last module may write scores, as in a CrossEncoder.
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
        position = "before" if before else "after"
        name = read if read != expected else written
        message = (
            f"{path} names a {module.type} module that reads or writes {name!r}: {position} Pooling, only "
            f"{expected!r} is supported"
        )
        raise CheckpointError(message)
