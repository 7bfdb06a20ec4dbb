"""The order of the modules of a model of one vector a text: what is before Pooling, what after, what is refused."""

from pathlib import Path

from millpond.types.errors import CheckpointError
from millpond_formats.sentence_transformers.module import (
    CNN,
    DENSE,
    DROPOUT,
    LAYER_NORM,
    LAYER_POOLING,
    NORMALIZE,
    POOLED,
    SCORES,
    SPARSE_CODE,
    STATIC,
    TOKENS,
    TRANSFORMERS,
    Module,
)

ON_TOKENS = (LAYER_POOLING, CNN, DENSE)  # modules that change the vectors of tokens
BEFORE = (*TRANSFORMERS, DROPOUT, *ON_TOKENS)
AFTER = (DENSE, LAYER_NORM, NORMALIZE, DROPOUT, SPARSE_CODE)
NEEDS_LENGTHS = "LSTM"
POOLING = ("Pooling", STATIC)


def pooling_of(modules: tuple[Module, ...]) -> Module | None:
    """The module that makes one vector of those of tokens; None if there is none."""
    return next((module for module in modules if module.type in POOLING), None)


def before_pooling(modules: tuple[Module, ...]) -> tuple[Module, ...]:
    """The modules between the transformer and Pooling, in order."""
    pooling = pooling_of(modules)
    if pooling is None:
        return ()
    return tuple(module for module in modules[: modules.index(pooling)] if module.type in ON_TOKENS)


def after_pooling(modules: tuple[Module, ...]) -> tuple[Module, ...]:
    """The modules after Pooling, in order, without a Normalize at the end, and before a SparseAutoEncoder."""
    pooling = pooling_of(modules)
    if pooling is None:
        return tuple(module for module in modules if module.type == DENSE)
    chain = _applied(modules[modules.index(pooling) + 1 :])
    types = [module.type for module in chain]
    chain = chain[: types.index(SPARSE_CODE)] if SPARSE_CODE in types else chain
    while chain and chain[-1].type == NORMALIZE:
        chain = chain[:-1]
    return tuple(chain)


def ends_normalized(modules: tuple[Module, ...], code: Module | None = None) -> bool:
    """True if the last module is Normalize; of those before ``code``, if there is one."""
    chain = _applied(modules if code is None else modules[: modules.index(code)])
    return bool(chain) and chain[-1].type == NORMALIZE


def check_chain(modules: tuple[Module, ...], path: Path) -> None:
    """Refuse modules whose order or input would mean something that is not supported.

    Args:
        modules: The modules, one of which pools.
        path: modules.json, for errors.

    Raises:
        CheckpointError: If there is one.
    """
    pooling = next(place for place, module in enumerate(modules) if module.type in POOLING)
    for place, module in enumerate(modules):
        foreign = "." in module.type and place < pooling  # a transformer of somebody's own
        known = BEFORE if place < pooling else AFTER
        if place != pooling and module.type not in known and not foreign:
            raise CheckpointError(_unknown(module, known, path, before=place < pooling))
        if place != pooling and module.type not in TRANSFORMERS:
            _check_input(module, path, before=place < pooling, is_last=place == len(modules) - 1)
    types = [module.type for module in modules]
    behind = types[types.index(SPARSE_CODE) + 1 :] if SPARSE_CODE in types else []
    if any(name in (DENSE, LAYER_NORM, SPARSE_CODE) for name in behind):
        message = f"{path} names the modules {', '.join(behind)} behind {SPARSE_CODE}: known is Normalize alone"
        raise CheckpointError(message)


def _applied(modules: tuple[Module, ...]) -> list[Module]:
    """The modules without those that do nothing when a model is served."""
    return [module for module in modules if module.type != DROPOUT]


def _unknown(module: Module, known: tuple[str, ...], path: Path, *, before: bool) -> str:
    where = "before" if before else "after"
    why = "without it the results would not be those of the model"
    if module.type == NEEDS_LENGTHS and before:
        why = "sentence-transformers computes it after WordEmbeddings only, which give it the lengths of sentences"
    return (
        f"{path} names a module {module.type} {where} Pooling, which is not supported there: {why}. Supported are "
        f"{', '.join(known)}; take it out of the file to do without"
    )


def _check_input(module: Module, path: Path, *, before: bool, is_last: bool) -> None:
    """Refuse a module that reads or writes something else than what the one before it made.

    The last one may write the scores, as that of a CrossEncoder does.
    """
    default = TOKENS if before and module.type != DENSE else POOLED
    expected = TOKENS if before else POOLED
    read = module.reads(default)
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
