"""PyLate: ColBERT models in the format of sentence-transformers, with additional settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millpond.model.files import read_object
from millpond.model.layers import Layer
from millpond.model.repository import Repository
from millpond.types.late_interaction import Expansion, LateInteraction, QueryDocumentConfig
from millpond_formats.plugin import SETTINGS
from millpond_formats.sentence_transformers.format import max_length
from millpond_formats.values import PUNCTUATION, QUERY_LENGTH, bounded, count_at, expansion_of, text_at

MODEL_TYPE = "ColBERT"


def read_pylate(repository: Repository) -> tuple[Layer, ...]:
    """Return the settings of queries and documents; nothing for other model types.

    Raises:
        CheckpointError: If a file is damaged, or specifies something that is not supported.
    """
    path = repository.path / SETTINGS
    settings = read_object(path)
    if settings.get("model_type") != MODEL_TYPE:
        return ()
    late = bounded(_late_interaction(settings, path), max_length(repository))
    values = {"files.task": "token_embed", "retrieval.late_interaction": late}
    return (Layer(SETTINGS, values, {"files.task": "model_type"}),)


def _late_interaction(settings: Mapping[str, Any], path: Path) -> LateInteraction:
    query, document = (_query_or_document(settings, role, path) for role in ("query", "document"))
    if "query_expansion" in settings:
        expansion = expansion_of(settings["query_expansion"], path)
    elif settings.get("do_query_expansion") is False:
        expansion = None
    else:
        attended = settings.get("attend_to_expansion_tokens", settings.get("attend_to_mask_tokens"))
        expansion = Expansion(length=query.length or QUERY_LENGTH, attended=bool(attended))
    return LateInteraction(query=query, document=document, expansion=expansion)


def _query_or_document(settings: Mapping[str, Any], role: str, path: Path) -> QueryDocumentConfig:
    marker, skipped = text_at(settings, f"{role}_prefix", path), settings.get("skiplist_words")
    words = PUNCTUATION if skipped is None else tuple(skipped)
    return QueryDocumentConfig(
        marker=marker,
        prompt=text_at(settings.get("prompts") or {}, role, path).removeprefix(marker),
        length=count_at(settings, f"{role}_length", path),
        skipped=words if role == "document" else (),
    )
