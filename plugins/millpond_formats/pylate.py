"""PyLate: ColBERT models in the files of sentence-transformers, with settings of their own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millpond.loading.files import read_object
from millpond.loading.repository import Repository
from millpond.types.checkpoint import CheckpointFacts, RetrievalFacts, stated
from millpond.types.config import Choice
from millpond.types.late_interaction import Expansion, LateInteraction, QueryDocumentConfig
from millpond_formats.plugin import SETTINGS
from millpond_formats.sentence_transformers.format import max_length
from millpond_formats.values import PUNCTUATION, QUERY_LENGTH, bounded, count_at, expansion_of, text_at

KIND = "ColBERT"


def read_pylate(repository: Repository) -> CheckpointFacts | None:
    """How queries and documents are read; None for a model of another kind.

    Raises:
        CheckpointError: If a file is damaged, or states what is not supported.
    """
    path = repository.path / SETTINGS
    said = read_object(path)
    if said.get("model_type") != KIND:
        return None
    late = bounded(_late_interaction(said, path), max_length(repository))
    return CheckpointFacts(
        task=Choice(value="token_embed", origin=f"{SETTINGS} (model_type)"),
        retrieval=RetrievalFacts(late_interaction=stated(late, SETTINGS)),
    )


def _late_interaction(said: Mapping[str, Any], path: Path) -> LateInteraction:
    query, document = (_side(said, role, path) for role in ("query", "document"))
    if "query_expansion" in said:
        expansion = expansion_of(said["query_expansion"], path)
    elif said.get("do_query_expansion") is False:
        expansion = None
    else:
        attended = said.get("attend_to_expansion_tokens", said.get("attend_to_mask_tokens"))
        expansion = Expansion(length=query.length or QUERY_LENGTH, attended=bool(attended))
    return LateInteraction(query=query, document=document, expansion=expansion)


def _side(said: Mapping[str, Any], role: str, path: Path) -> QueryDocumentConfig:
    marker, skipped = text_at(said, f"{role}_prefix", path), said.get("skiplist_words")
    words = PUNCTUATION if skipped is None else tuple(skipped)
    return QueryDocumentConfig(
        marker=marker,
        prompt=text_at(said.get("prompts") or {}, role, path).removeprefix(marker),
        length=count_at(said, f"{role}_length", path),
        skipped=words if role == "document" else (),
    )
