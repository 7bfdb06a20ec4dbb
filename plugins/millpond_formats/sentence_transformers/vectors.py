"""Checks the modules of a model that returns one vector per token."""

from pathlib import Path

from millpond.model.spec import ModuleSettings
from millpond.types.errors import CheckpointError
from millpond_formats.sentence_transformers.module import TOKENS, reads

HIERARCHICAL_POOLING = "HierarchicalTokenPooling"
MASK = "MultiVectorMask"
ORDERED = ("Dense", "Normalize", HIERARCHICAL_POOLING)  # the required order after the transformer
UNORDERED = ("Dropout", MASK)


def check_vectors(modules: tuple[ModuleSettings, ...], path: Path) -> None:
    """Check that the modules project, normalize and then pool token vectors, with each step optional."""
    supported, following = (*ORDERED, *UNORDERED), modules[1:]
    for module in following:
        if module.type not in supported:
            message = (
                f"{path}: unsupported module {module.type} after the transformer. Ignoring it would change the "
                f"results. Supported: {', '.join(supported)}"
            )
            raise CheckpointError(message)
        read = reads(module, TOKENS)
        if module.type == "Dense" and read != TOKENS:
            message = f"{path} names a Dense module that reads {read!r}; only {TOKENS!r} is supported for token vectors"
            raise CheckpointError(message)
    ordered = [module.type for module in following if module.type in ORDERED]
    masks = [index for index, module in enumerate(following) if module.type == MASK]
    pooled = [index for index, module in enumerate(following) if module.type == HIERARCHICAL_POOLING]
    if ordered != sorted(ordered, key=ORDERED.index) or (pooled and max(masks, default=0) > pooled[0]):
        message = (
            f"{path}: unsupported order of modules: {', '.join(module.type for module in modules)}. Supported: "
            f"{', then '.join(ORDERED)}, with {MASK} before {HIERARCHICAL_POOLING}"
        )
        raise CheckpointError(message)
