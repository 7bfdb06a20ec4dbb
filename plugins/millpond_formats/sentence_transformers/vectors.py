"""The modules of a model whose result is the vectors of tokens: their order, and what is refused."""

from pathlib import Path

from millpond.types.checkpoint import ModuleFacts
from millpond.types.errors import CheckpointError
from millpond_formats.sentence_transformers.module import TOKENS, reads

FEWER = "HierarchicalTokenPooling"
MASK = "MultiVectorMask"
IN_ORDER = ("Dense", "Normalize", FEWER)  # behind a transformer whose tokens' vectors are the result
ANYWHERE = ("Dropout", MASK)


def check_vectors(modules: tuple[ModuleFacts, ...], path: Path) -> None:
    """Refuse a chain that means something else than: project the vectors of tokens, normalise them, make them fewer."""
    known, behind = (*IN_ORDER, *ANYWHERE), modules[1:]
    for module in behind:
        if module.type not in known:
            message = (
                f"{path} names a module {module.type} behind the transformer, which is not known there: without it the "
                f"results would not be those of the model. Known are {', '.join(known)}"
            )
            raise CheckpointError(message)
        read = reads(module, TOKENS)
        if module.type == "Dense" and read != TOKENS:
            message = f"{path} names a Dense module that reads {read!r}: of vectors of tokens, only {TOKENS!r} is known"
            raise CheckpointError(message)
    ordered = [module.type for module in behind if module.type in IN_ORDER]
    masks = [place for place, module in enumerate(behind) if module.type == MASK]
    pooled = [place for place, module in enumerate(behind) if module.type == FEWER]
    if ordered != sorted(ordered, key=IN_ORDER.index) or (pooled and max(masks, default=0) > pooled[0]):
        message = (
            f"{path} names the modules {', '.join(module.type for module in modules)} in this order; known is "
            f"{', then '.join(IN_ORDER)}, and MultiVectorMask before the last of these"
        )
        raise CheckpointError(message)
