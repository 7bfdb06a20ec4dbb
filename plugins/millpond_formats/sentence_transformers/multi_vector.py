"""MultiVectorEncoder of sentence-transformers: settings of queries and documents, and the vectors that are kept."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from millpond.model.spec import ModuleSettings
from millpond.types.errors import CheckpointError
from millpond.types.late_interaction import LateInteraction, QueryDocumentConfig, TokenPooling
from millpond_formats.sentence_transformers.module import positive
from millpond_formats.sentence_transformers.vectors import HIERARCHICAL_POOLING, MASK
from millpond_formats.values import bounded, count_at, expansion_of

MULTI_VECTOR = "MultiVectorEncoder"


def read_multi_vector(
    modules: tuple[ModuleSettings, ...], prompts: Mapping[str, str], limits: Mapping[str, Any], path: Path
) -> LateInteraction:
    """Return the settings of queries and documents.

    Args:
        modules: The modules of the model.
        prompts: The named prompts of the model.
        limits: The content of the file with the maximum length and tokenizer options.
        path: The path of that file, for errors.

    Raises:
        CheckpointError: If a file specifies something that is not supported.
    """
    mask = next((module for module in modules if module.type == MASK), None)
    pooling = _pooling(modules)
    query, document = (
        QueryDocumentConfig(
            prompt=prompts.get(role, ""),
            length=count_at(limits, f"{role}_length", path),
            skipped=_skipped(mask, role),
            only=_kept_token_ids(mask) if role == "document" else (),
            pooling=pooling.get(role),
        )
        for role in ("query", "document")
    )
    expansion = expansion_of(limits.get("query_expansion"), path)
    late_interaction = LateInteraction(query=query, document=document, expansion=expansion)
    return bounded(late_interaction, positive(limits.get("max_seq_length")))


def _skipped(mask: ModuleSettings | None, role: str) -> tuple[str, ...]:
    """The words whose vectors are removed from queries or documents."""
    if mask is None or role not in (mask.config.get("skiplist_tasks") or ("document",)):
        return ()
    return _words(mask.config.get("skiplist_words"))


def _kept_token_ids(mask: ModuleSettings | None) -> tuple[int, ...]:
    """The ids of the only tokens that documents keep; empty for all tokens."""
    if mask is None:
        return ()
    ids = mask.config.get("keep_only_token_ids") or []
    if not isinstance(ids, list) or not all(isinstance(token, int) and not isinstance(token, bool) for token in ids):
        message = f"{mask.path / 'config.json'}: keep_only_token_ids must be a list of token ids; got {ids!r}"
        raise CheckpointError(message)
    return tuple(ids)


def _pooling(modules: Iterable[ModuleSettings]) -> Mapping[str, TokenPooling]:
    """The token pooling of queries and documents; empty without such a module."""
    module = next((module for module in modules if module.type == HIERARCHICAL_POOLING), None)
    if module is None:
        return {}
    config, path = module.config, module.path / "config.json"
    factor, protected = config.get("pool_factor", 1.0), config.get("num_protected_tokens", 1)
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (factor, protected))
    if not numeric or factor < 1 or protected < 0:
        message = f"{path}: pool_factor must be at least 1 and num_protected_tokens at least 0; got {config}"
        raise CheckpointError(message)
    normalizes = bool(config.get("normalize_embeddings", False))
    pooling = TokenPooling(factor=float(factor), protected=int(protected), normalizes=normalizes)
    return dict.fromkeys(_words(config.get("tasks", ["document"])), pooling)


def _words(values: Iterable[object] | None) -> tuple[str, ...]:
    return tuple(word for word in values or () if isinstance(word, str))
